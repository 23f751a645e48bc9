"""What talks to Google: one hook per service.

Each hook takes a connection, which several hooks may share: `StorageHook(GoogleConnection(location="us-central1"))`.
Import hooks inside `execute` and `run`, never in a DAG file: the Google clients take seconds to load.
"""
