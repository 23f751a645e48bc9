"""The history of a tuning: a record of each run, in its bucket."""
