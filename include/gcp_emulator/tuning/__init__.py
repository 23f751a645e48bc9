"""Tuning jobs: requests, their data, and the run of a job from start to end."""
