"""Shows mistakes in include/tunings as an Airflow DAG import error. This file has no DAGs that it could disable."""

from __future__ import annotations

from vertex_tuning.dags import check_tunings

check_tunings(__file__)
