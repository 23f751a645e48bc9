"""The retraining DAG of each tuning. The documentation of Airflow's DAGs is in `vertex_tuning.dags`."""

from __future__ import annotations

from vertex_tuning.dags import retraining_dags

globals().update(retraining_dags(__file__))
