"""Tuning jobs: what a request may ask for, the data it names, and how a job runs to its end."""
