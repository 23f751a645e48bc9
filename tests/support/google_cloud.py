"""The local Google Cloud of the integration tests: its connection, its data, and jobs for it."""

from __future__ import annotations

import json
from typing import Any

from vertex_tuning.jobs.spec import TuningSpec

PROJECT = "test-project"
LOCATION = "us-central1"
TRAINING = "gs://data/train.jsonl"
VALIDATION = "gs://data/validation.jsonl"


def connection(url: str, **extra: Any) -> str:
    """A Google Cloud connection, as AIRFLOW_CONN_… holds it."""
    endpoints = {"vertex_api_endpoint": url, "storage_api_endpoint": url}
    return json.dumps(
        {
            "conn_type": "google_cloud_platform",
            "extra": {"project": PROJECT, "is_anonymous": True, **endpoints, **extra},
        }
    )


def spec(**fields: Any) -> TuningSpec:
    """A small job on data that is learnt in a moment."""
    given = {"base_model": "gemini-2.5-flash", "training_uri": TRAINING, "validation_uri": VALIDATION, "epoch_count": 3}
    return TuningSpec.parse(**{**given, **fields})
