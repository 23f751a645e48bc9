"""The hourly DAG that cancels tuning jobs whose Airflow run has ended."""

from __future__ import annotations

from vertex_tuning.dags import orphaned_jobs_dag

globals().update(orphaned_jobs_dag(__file__))
