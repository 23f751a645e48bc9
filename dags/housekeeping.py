"""The nightly DAG with which Airflow deletes old models and datasets, of tunings whose files have `housekeeping`."""

from __future__ import annotations

from vertex_tuning.dags import housekeeping_dag

globals().update(housekeeping_dag(__file__))
