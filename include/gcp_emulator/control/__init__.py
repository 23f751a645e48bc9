"""`/_internal`: faults, the request log and how jobs run."""
