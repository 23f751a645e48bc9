"""What talks to Google: one hook per service.

Import hooks inside `execute` and `run`, never in a DAG file: the Google clients take seconds to load.
"""
