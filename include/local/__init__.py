"""Runs the project on one machine: a real Airflow and the local Google Cloud."""
