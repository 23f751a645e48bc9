"""Runs in Vertex AI Experiments, written and read by Google's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform
from google.cloud.aiplatform import initializer
from vertex_tuning.exceptions import TuningError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiment_recorder import ExperimentRecorder

from tests.support.google_cloud import LOCATION, PROJECT

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:vertexai"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def recorder() -> ExperimentRecorder:
    return ExperimentRecorder(GoogleConnection(location=LOCATION))


@pytest.fixture
def name() -> str:
    return f"airflow-{uuid4().hex}"


@pytest.fixture
def frame(google_cloud: str) -> Iterator[Callable[[str], Any]]:
    """Reads an experiment as a person would in a notebook."""

    def read(experiment: str) -> Any:
        aiplatform.init(
            project=PROJECT,
            location=LOCATION,
            api_endpoint=google_cloud,
            api_transport="rest",
            credentials=AnonymousCredentials(),
        )
        return aiplatform.get_experiment_df(experiment)

    yield read
    initializer.global_config.__init__()


def test_the_runs_of_a_tuning_are_compared(
    recorder: ExperimentRecorder, name: str, frame: Callable[[str], Any]
) -> None:
    for number, failed in ((1, False), (2, True)):
        made = recorder.record_run(
            name, f"run-{number}", params={"epochs": number, "base": "g"}, values={"verdict": "first"}, failed=failed
        )
    assert made.endswith(f"/metadataStores/default/contexts/{name}")
    found = frame(name).sort_values("run_name")
    assert list(found["run_name"]) == ["run-1", "run-2"]
    assert list(found["state"]) == ["COMPLETE", "FAILED"]
    assert list(found["param.epochs"]) == [1, 2]
    assert set(found["metric.verdict"]) == {"first"}


def test_a_retried_task_changes_its_run(recorder: ExperimentRecorder, name: str, frame: Callable[[str], Any]) -> None:
    recorder.record_run(name, "run-1", params={"epochs": 1}, values={"verdict": "failed"}, failed=True)
    recorder.record_run(name, "run-1", params={"epochs": 1}, values={"verdict": "promoted", "loss": 0.5})
    found = frame(name)
    assert len(found) == 1
    assert (found["metric.verdict"][0], found["metric.loss"][0], found["state"][0]) == ("promoted", 0.5, "COMPLETE")


def tensorboards(emulator: str) -> Any:
    return httpx.get(f"{emulator}/v1/projects/{PROJECT}/locations/{LOCATION}/tensorboards").raise_for_status().json()


@pytest.mark.parametrize(
    "method", ["contexts.create", "contexts.addContextChildren", "contexts.patch", "metadataStores.get"]
)
def test_an_attempt_that_ends_at_any_step_is_made_good(
    recorder: ExperimentRecorder, name: str, frame: Callable[[str], Any], control: Callable[..., None],
    emulator: str, method: str,
) -> None:  # fmt: skip
    before = tensorboards(emulator)
    control("faults", method=method, error={"code": 403, "message": "Not yours."}, count=1)
    with pytest.raises(TuningError, match="Not yours"):
        recorder.record_run(name, "run-1", params={}, values={"verdict": "first"})
    recorder.record_run(name, "run-1", params={}, values={"verdict": "first"})
    assert list(frame(name)["metric.verdict"]) == ["first"]
    assert tensorboards(emulator) == before


def test_the_settings_of_the_client_are_put_back(recorder: ExperimentRecorder, name: str) -> None:
    before = dict(vars(initializer.global_config))
    recorder.record_run(name, "run-1", params={}, values={})
    assert vars(initializer.global_config) == before
