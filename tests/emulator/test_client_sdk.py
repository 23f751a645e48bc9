"""The high-level SDK: experiment frames, and `vertexai.tuning` while it still ships."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

from tests.emulator.jobs import TRAIN, VALIDATION
from tests.emulator.vertex import Vertex
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("sdk", "datasets"),
    pytest.mark.filterwarnings("ignore::UserWarning:vertexai"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def sdk(emulator: str) -> Iterator[None]:
    aiplatform.init(
        project="my-project",
        location="us-central1",
        api_endpoint=emulator,
        api_transport="rest",
        credentials=AnonymousCredentials(),
    )
    yield
    aiplatform.initializer.global_pool.shutdown(wait=True)
    aiplatform.initializer.global_config.__init__()


def test_experiment_run_frame(tuned: dict[str, Any]) -> None:
    experiment = aiplatform.Experiment(tuned["experiment"])
    assert experiment.get_backing_tensorboard_resource().resource_name
    (run,) = aiplatform.ExperimentRun.list(experiment=experiment)
    frame = run.get_time_series_data_frame()
    steps = int(tuned["tuningJobMetadata"]["completedStepCount"])
    assert set(frame["step"]) == set(range(1, steps + 1))
    assert {"wall_time", "/train_total_loss", "/eval_total_loss"} <= set(frame.columns)
    by_name = aiplatform.ExperimentRun(run.name, experiment=experiment)
    assert by_name.get_time_series_data_frame().equals(frame)


def test_experiment_frame(tuned: dict[str, Any]) -> None:
    frame = aiplatform.Experiment(tuned["experiment"]).get_data_frame()
    assert len(frame) == 1
    assert frame["state"][0] == "COMPLETE"
    assert frame["time_series_metric./train_total_loss"][0] > 0


def test_reading_writes_nothing(vertex: Vertex, tuned: dict[str, Any]) -> None:
    """The SDK writes when an artifact or a TensorBoard is missing; here both are there."""
    vertex.client.delete("/_internal/requests")
    (run,) = aiplatform.ExperimentRun.list(experiment=tuned["experiment"].rsplit("/", 1)[-1])
    assert len(run.get_time_series_data_frame())
    requests = vertex.client.get("/_internal/requests").json()["requests"]
    assert {request["httpMethod"] for request in requests} == {"GET"}
    assert {request["status"] for request in requests} == {200}


def test_vertexai_tuning(tuned: dict[str, Any]) -> None:
    from vertexai.tuning import sft

    job = sft.train(
        source_model="gemini-2.5-flash",
        train_dataset=TRAIN,
        validation_dataset=VALIDATION,
        epochs=2,
        adapter_size=4,
        tuned_model_display_name="by vertexai",
        labels={"by": "vertexai"},
    )
    wait_until(lambda: job.refresh().has_ended)
    assert job.has_succeeded
    assert "/models/" in job.tuned_model_name
    assert "/endpoints/" in job.tuned_model_endpoint_name
    assert job.experiment.resource_name
    assert job.resource_name in [item.resource_name for item in sft.SupervisedTuningJob.list()]
