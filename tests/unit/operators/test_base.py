"""What all operators and the sensor have in common."""

from __future__ import annotations

import pytest
from airflow.sdk import BaseOperator
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import (
    CancelTuningJobOperator,
    CreateTuningJobOperator,
    GetTuningJobOperator,
    ListTuningJobsOperator,
)
from vertex_tuning.sensors import TuningJobSensor


@pytest.mark.parametrize(
    "kind",
    [
        UploadDatasetOperator,
        CreateTuningJobOperator,
        GetTuningJobOperator,
        ListTuningJobsOperator,
        CancelTuningJobOperator,
        CollectMetricsOperator,
        SmokeTestOperator,
        TuningJobSensor,
    ],
)
def test_connection_and_place_are_templates_everywhere(kind: type[BaseOperator]) -> None:
    assert {"location", "project_id", "gcp_conn_id", "impersonation_chain"} <= set(kind.template_fields)
