"""What talks to Google, a hook for each of its services: one method per thing we ask.

Imported inside `execute` and `run`, never by a DAG file: the Google libraries behind them take seconds to load.
"""
