"""Operators and the sensor, executed against the live local Google Cloud as a worker would."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.hooks.tuning import VertexTuningHook
from vertex_tuning.jobs import TuningJob
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

from tests.emulator_fixture import classification_rows
from tests.vertex_tuning.conftest import TRAINING, VALIDATION, spec

HOLD = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]


class TaskContext(dict[str, Any]):
    """What the operators use of a task's context; XComs and the state store are kept for a look."""

    def __init__(self, run_id: str = "run", map_index: int = -1, try_number: int = 1) -> None:
        self.xcoms: dict[str, Any] = {}
        self.stored: dict[str, Any] = {}
        instance = SimpleNamespace(
            dag_id="dag",
            task_id="task",
            run_id=run_id,
            map_index=map_index,
            try_number=try_number,
            start_date=datetime.now(UTC),
            xcom_push=lambda key, value: self.xcoms.update({key: value}),
        )
        super().__init__(
            ti=instance, task_state_store=SimpleNamespace(set=self.stored.__setitem__, get=self.stored.get)
        )


def execute(operator: BaseOperator, context: TaskContext | None = None) -> Any:
    result = operator.execute(context or TaskContext())  # type: ignore[arg-type]
    assert json.loads(json.dumps(result)) == result  # an XCom is plain JSON
    return result


def create(**arguments: Any) -> CreateTuningJobOperator:
    defaults = {
        "task_id": "create",
        "base_model": "gemini-2.5-flash",
        "training_uri": TRAINING,
        "validation_uri": VALIDATION,
        "epoch_count": "2",
    }
    return CreateTuningJobOperator(**{**defaults, **arguments})


@pytest.fixture(scope="module")
def succeeded() -> dict[str, Any]:
    """A job that has succeeded, as the create operator returns it."""
    result: dict[str, Any] = {}
    return result


@pytest.fixture
def done(succeeded: dict[str, Any]) -> dict[str, Any]:
    if not succeeded:
        context = TaskContext("a run that succeeds")
        succeeded.update(execute(create(wait_for_completion=True, deferrable=False, epoch_count=6), context))
    return succeeded


# Dataset


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path.name


def upload(folder: Path, **arguments: Any) -> UploadDatasetOperator:
    return UploadDatasetOperator(task_id="upload", bucket="bucket", base_dir=str(folder), **arguments)


def test_local_files_are_checked_and_uploaded_under_their_content(tmp_path: Path, storage: StorageHook) -> None:
    training = write(tmp_path / "t.jsonl", *classification_rows(30))
    validation = write(tmp_path / "v.jsonl", *classification_rows(6))
    result = execute(upload(tmp_path, training_data=training, validation_data=validation))
    assert (result["training"]["rows"], result["validation"]["rows"]) == (30, 6)
    assert result["training"]["sha256"] in result["training_uri"]
    with storage.open_object(result["validation_uri"]) as file:
        assert file.read() == (tmp_path / "v.jsonl").read_bytes()
    assert execute(upload(tmp_path, training_data=training))["training_uri"] == result["training_uri"]


def test_data_in_cloud_storage_is_checked_and_used_where_it_is(tmp_path: Path) -> None:
    result = execute(upload(tmp_path, training_data=TRAINING, validation_data=""))
    assert (result["training_uri"], result["validation_uri"]) == (TRAINING, None)
    assert result["training"]["rows"] == 120


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "found no rows"),
        (["not json"], "t.jsonl, line 1: not JSON"),
        ([{"contents": []}], "line 1"),
        ([*classification_rows(3), {"prompt": "x"}], "line 4"),
    ],
)
def test_a_dataset_that_cannot_work_is_refused_before_anything_is_uploaded(
    tmp_path: Path, emulator: str, content: list[Any], words: str
) -> None:
    write(tmp_path / "v.jsonl", *classification_rows(3))
    operator = upload(tmp_path, training_data="v.jsonl", validation_data=write(tmp_path / "t.jsonl", *content))
    before = httpx.get(f"{emulator}/storage/v1/b/bucket/o").json()
    with pytest.raises(exceptions.DatasetError, match=words):
        execute(operator)
    assert httpx.get(f"{emulator}/storage/v1/b/bucket/o").json() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(exceptions.DatasetError, match=r"none\.jsonl: found no file"):
        execute(upload(tmp_path, training_data="none.jsonl"))


@pytest.mark.parametrize("source", ["/etc/passwd", "../outside.jsonl", "link.jsonl"])
def test_a_path_from_a_form_reads_nothing_outside_the_dataset_folders(tmp_path: Path, source: str) -> None:
    (tmp_path / "outside.jsonl").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(exceptions.ConfigurationError, match="dataset_dirs") as error:
        execute(upload(inside, training_data=source))
    assert "secret" not in str(error.value)


def test_further_folders_are_opened_by_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(3))
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DATASET_DIRS", f"/nowhere:{tmp_path}")
    (tmp_path / "base").mkdir()
    assert execute(upload(tmp_path / "base", training_data=str(tmp_path / "t.jsonl")))["training"]["rows"] == 3


# Creating


def test_a_retry_adopts_the_job_of_the_attempt_before(hook: VertexTuningHook) -> None:
    context = TaskContext("adopted")
    first, second = execute(create(), context), execute(create(), context)
    assert first["name"] == second["name"] == context.stored["tuning_job"]
    labels = first["labels"]
    listed = [job.name for job in hook.list_tuning_jobs() if job.labels.items() >= labels.items()]
    assert listed == [first["name"]]


def test_other_runs_map_indexes_and_specs_get_jobs_of_their_own() -> None:
    names = {
        execute(create(), TaskContext("one"))["name"],
        execute(create(), TaskContext("two"))["name"],
        execute(create(), TaskContext("one", map_index=0))["name"],
        execute(create(epoch_count="1"), TaskContext("one"))["name"],
    }
    assert len(names) == 4


def test_nothing_is_created_when_the_look_up_fails(emulator: str, control: Callable[..., None]) -> None:
    control("faults", method="tuningJobs.list", error={"code": 503})
    with pytest.raises(exceptions.VertexUnavailableError):
        execute(create(), TaskContext("blind"))
    asked = httpx.get(f"{emulator}/_internal/requests").json()
    assert "tuningJobs.create" not in json.dumps(asked)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"epoch_count": "0"}, exceptions.ConfigurationError, "epoch_count: found '0'"),
        ({"base_model": "gemini-0.1"}, exceptions.VertexRequestError, "gemini-0.1"),
        ({"location": "global"}, exceptions.VertexRequestError, "global"),
        ({"gcp_conn_id": "none_such"}, exceptions.ConfigurationError, "none_such"),
    ],
)
def test_what_a_retry_cannot_help_is_permanent(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        execute(create(**arguments), TaskContext("refused"))
    assert isinstance(error.value, exceptions.PermanentError)


def test_one_task_can_wait_as_well(done: dict[str, Any]) -> None:
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    with pytest.raises(TaskDeferred) as deferred:
        execute(create(wait_for_completion=True), TaskContext("one task"))
    assert deferred.value.method_name == "execute_complete"
    event = {"status": "succeeded", "job_name": done["name"], "job": done}
    context = TaskContext()
    context.stored["tuning_job"] = done["name"]
    assert create(wait_for_completion=True).execute_complete(context, event) == done  # type: ignore[arg-type]


# Waiting


def sensor(job_name: str, **arguments: Any) -> TuningJobSensor:
    return TuningJobSensor(task_id="wait", job_name=job_name, **arguments)


def held(hook: VertexTuningHook, control: Callable[..., None]) -> TuningJob:
    control("lifecycle", labels={"held": "yes"}, script=HOLD)
    return hook.create_tuning_job(spec(), {"held": "yes"})


def test_a_finished_job_costs_no_trigger(done: dict[str, Any]) -> None:
    assert execute(sensor(done["name"])) == done


def test_a_running_job_is_waited_for_in_the_triggerer(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = held(hook, control)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job.name, poke_interval=7, timeout=100))
    _, arguments = deferred.value.trigger.serialize()
    assert (arguments["job_name"], arguments["poll_interval"]) == (job.name, 7)
    assert deferred.value.timeout is None


@pytest.mark.parametrize(
    "event",
    [None, {}, {"status": "done", "job_name": "a"}, {"status": "succeeded", "job_name": "b"}, {"status": "succeeded"}],
)
def test_a_strange_event_fails_loudly(event: Any) -> None:
    with pytest.raises(exceptions.UnexpectedEventError):
        sensor("a").execute_complete(TaskContext(), event, job_name="a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("failed", exceptions.TuningJobFailedError),
        ("expired", exceptions.TuningJobExpiredError),
        ("partially_succeeded", exceptions.TuningJobPartiallySucceededError),
        ("cancelled", exceptions.TuningJobCancelledError),
        ("error", exceptions.PollingError),
    ],
)
def test_each_end_but_success_has_its_error(status: str, kind: type[Exception]) -> None:
    job = TuningJob.parse({"name": "a", "error": {"code": 3, "message": "The service's words."}})
    event = {"status": status, "job_name": "a", "message": "The service's words.", "job": job.as_xcom()}
    with pytest.raises(kind, match=r"The service's words\."):
        sensor("a").execute_complete(TaskContext(), event, job_name="a")  # type: ignore[arg-type]


@pytest.mark.parametrize("cancel", [True, False])
def test_a_job_over_time_is_cancelled_if_it_shall(
    hook: VertexTuningHook, control: Callable[..., None], cancel: bool
) -> None:
    job = held(hook, control)
    event = {"status": "timeout", "job_name": job.name, "message": "Late."}
    waiting = sensor(job.name, cancel_on_timeout=cancel)
    with pytest.raises(exceptions.TuningJobTimeoutError, match=r"Late\."):
        waiting.execute_complete(TaskContext(), event, job_name=job.name)  # type: ignore[arg-type]
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL") is cancel


def test_the_sensor_also_waits_on_the_worker(done: dict[str, Any], hook: VertexTuningHook) -> None:
    job = hook.create_tuning_job(spec(), {})
    assert execute(sensor(job.name, deferrable=False, poke_interval=0.05))["state"] == "JOB_STATE_SUCCEEDED"


def test_on_the_worker_too_a_job_over_time_is_cancelled(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = held(hook, control)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05, timeout=0.2))
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL")


def test_soft_fail_skips(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("lifecycle", labels={"fails": "yes"}, failure={"step": 0})
    job = hook.create_tuning_job(spec(), {"fails": "yes"})
    with pytest.raises(exceptions.TuningJobFailedError):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05))
    with pytest.raises(AirflowSkipException):
        execute(sensor(job.name, soft_fail=True))


def test_a_kill_on_the_worker_cancels(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = held(hook, control)
    waiting = sensor(job.name, deferrable=False)
    waiting.poke(TaskContext())  # type: ignore[arg-type]
    waiting.on_kill()
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL")


# Reading, listing, cancelling


def test_get_list_and_cancel(hook: VertexTuningHook, control: Callable[..., None], done: dict[str, Any]) -> None:
    job = held(hook, control)
    assert execute(GetTuningJobOperator(task_id="get", job_name=done["name"])) == done
    listed = execute(ListTuningJobsOperator(task_id="list", filter="labels.held=yes", limit=1))
    assert [one["name"] for one in listed] == [job.name]
    cancelled = execute(CancelTuningJobOperator(task_id="cancel", job_name=job.name))
    assert cancelled["state"].startswith("JOB_STATE_CANCELL")


# Evaluation


def test_metrics_are_summed_up_and_the_headline_pushed(done: dict[str, Any]) -> None:
    context = TaskContext()
    result = execute(CollectMetricsOperator(task_id="metrics", job_name=done["name"]), context)
    loss = result["metrics"]["/eval_total_loss"]
    assert loss["last"] < loss["first"]
    assert context.xcoms["headline"]["/eval_total_loss"] == loss["last"]


def test_a_job_without_experiment_has_no_metrics(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("lifecycle", labels={"queued": "yes"}, script=[{"state": "JOB_STATE_PENDING", "seconds": 600}])
    job = hook.create_tuning_job(spec(), {"queued": "yes"})
    with pytest.raises(exceptions.MetricsError, match="no experiment"):
        execute(CollectMetricsOperator(task_id="metrics", job_name=job.name))


def smoke_test(done: dict[str, Any], *cases: dict[str, Any], **arguments: Any) -> SmokeTestOperator:
    endpoint = done["tuned_model"]["endpoint"]
    return SmokeTestOperator(task_id="smoke", endpoint=endpoint, cases=list(cases), **arguments)


RIGHT = {"prompt": "My card is lost, message 5000.", "equals": "lost"}
WRONG = {"prompt": "My card is lost, message 5000.", "equals": "found"}


def test_a_model_that_answers_as_expected_passes(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, RIGHT, sample_uri=VALIDATION, sample_size=4))
    assert (result["cases"]["passed"], result["sample"]["passed"], result["sample"]["total"]) == (1, 4, 4)


def test_a_model_that_does_not_fails_with_prompt_answer_and_expectation(done: dict[str, Any]) -> None:
    context = TaskContext()
    with pytest.raises(exceptions.SmokeTestError, match="1 of 2 cases passed") as error:
        execute(smoke_test(done, RIGHT, WRONG), context)
    assert "'lost': expected 'found'" in str(error.value)
    assert len(context.xcoms["answers"]["cases"]["answers"]) == 2
    assert execute(smoke_test(done, RIGHT, WRONG, min_pass_share=0.5))["cases"]["passed"] == 1


def test_cases_of_another_subject_can_be_left_out(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, WRONG, ask_cases="False", sample_uri=VALIDATION))
    assert (result["cases"]["total"], result["sample"]["total"]) == (0, 10)
    with pytest.raises(exceptions.ConfigurationError, match="something to ask"):
        execute(smoke_test(done, WRONG, ask_cases=False))


def test_a_case_that_is_none_is_named(done: dict[str, Any]) -> None:
    with pytest.raises(exceptions.ConfigurationError, match="`question`"):
        execute(smoke_test(done, {"question": "?"}))


# All of them


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
