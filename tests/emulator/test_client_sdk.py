"""The high-level SDK: experiment frames, and `vertexai.tuning` while it still ships."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
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


def test_experiments_of_ones_own() -> None:
    experiment = aiplatform.Experiment.get_or_create("my-tuning", description="Its runs.")
    assert aiplatform.Experiment.get_or_create("my-tuning").resource_name == experiment.resource_name
    for number in (1, 2):
        run = aiplatform.ExperimentRun.create(f"run-{number}", experiment=experiment)
        run.log_params({"epochs": number, "base": "gemini"})
        run.log_metrics({"loss": number / 2})
        run.log_metrics({"share": 0.5, "verdict": "refused"})
        run.end_run()
    frame = aiplatform.get_experiment_df("my-tuning").sort_values("run_name")
    assert list(frame["run_name"]) == ["run-1", "run-2"]
    assert list(frame["param.epochs"]) == [1, 2]
    assert list(frame["metric.loss"]) == [0.5, 1.0]
    assert set(frame["metric.verdict"]) == {"refused"}
    assert set(frame["state"]) == {"COMPLETE"}
    with pytest.raises(Conflict):
        aiplatform.ExperimentRun.create("run-1", experiment=experiment)
    aiplatform.ExperimentRun("run-1", experiment=experiment).delete()
    assert list(aiplatform.get_experiment_df("my-tuning")["run_name"]) == ["run-2"]
    experiment.delete()
    assert aiplatform.Experiment.get("my-tuning") is None


def test_a_child_is_added_once(emulator: str) -> None:
    experiment = aiplatform.Experiment.create("with-children")
    run = aiplatform.ExperimentRun.create("run", experiment=experiment)
    parent, child = (aiplatform.Context(name) for name in (experiment.resource_name, run.resource_name))
    parent.add_context_children([child])
    assert [item.name for item in aiplatform.ExperimentRun.list(experiment=experiment)] == ["run"]
    assert aiplatform.Context(run.resource_name).parent_contexts == [experiment.resource_name]
    with pytest.raises(BadRequest):
        child.add_context_children([parent])
    with pytest.raises(BadRequest):
        parent.delete()


def test_a_change_of_an_older_state_is_refused() -> None:
    experiment = aiplatform.Experiment.create("two-writers")
    first = aiplatform.ExperimentRun.create("run", experiment=experiment)
    second = aiplatform.ExperimentRun("run", experiment=experiment)
    first.log_params({"a": 1})
    with pytest.raises(Conflict, match="does not match server"):
        second.log_params({"b": 2})
    assert aiplatform.ExperimentRun("run", experiment=experiment).get_params() == {"a": 1}


def test_time_series_executions_and_artifacts_of_ones_own() -> None:
    board = aiplatform.Tensorboard.create(display_name="mine")
    experiment = aiplatform.Experiment.create("with-series")
    run = aiplatform.ExperimentRun.create("run", experiment=experiment, tensorboard=board)
    for step in (1, 2):
        run.log_time_series_metrics({"loss": 1 / step}, step=step)
    frame = aiplatform.ExperimentRun("run", experiment=experiment).get_time_series_data_frame()
    assert list(frame["loss"]) == [1.0, 0.5]
    artifact = aiplatform.Artifact.create("system.Dataset", display_name="rows", uri="gs://datasets/train.jsonl")
    execution = aiplatform.Execution.create(
        "system.ContainerExecution", display_name="training", credentials=AnonymousCredentials()
    )
    aiplatform.Context(run.resource_name).add_artifacts_and_executions(
        [artifact.resource_name], [execution.resource_name]
    )
    assert "rows" in [found.display_name for found in run.get_artifacts()]
    execution.update(state=aiplatform.gapic.Execution.State.COMPLETE, metadata={"steps": 2})
    assert aiplatform.Execution(execution.name).metadata == {"steps": 2.0}
    for made in (artifact, execution):
        made.delete()
        with pytest.raises(NotFound):
            type(made)(made.name)


@pytest.mark.parametrize("name", ["with_underscore", "Upper", "x" * 129, "-first"])
def test_ids_with_other_characters_are_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        aiplatform.Experiment.create(name)


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
