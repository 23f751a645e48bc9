"""The DAG of each tuning that puts the previous model into use again, in Airflow only by hand."""

from __future__ import annotations

from vertex_tuning.dags import rollback_dags

globals().update(rollback_dags(__file__))
