"""The page and the JSON that show all of one run. Pure: from plain data to text; reading and writing is the operator's.

`content` says what a report holds, `build` makes one from what the tasks returned, `page` turns it into HTML.
"""
