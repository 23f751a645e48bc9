from __future__ import annotations

import itertools
from typing import Any

import pytest
from google.genai.types import JobState
from google.rpc.code_pb2 import Code
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs import TuningJob, describe_progress, elect, terminal_event
from vertex_tuning.resource_names import location_of, project_of
from vertex_tuning.specs import TuningSpec, identity_labels, identity_of

NAME = "projects/123/locations/us-central1/tuningJobs/456"
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"}


def spec(**fields: Any) -> TuningSpec:
    return TuningSpec.parse(**{"base_model": "gemini-2.5-flash", "training_uri": "gs://bucket/train.jsonl", **fields})


@pytest.mark.parametrize("state", [state.value for state in JobState] + ["JOB_STATE_OF_TOMORROW"])
def test_exactly_the_states_a_job_never_leaves_end_the_waiting(state: str) -> None:
    event = terminal_event(TuningJob(name=NAME, state=state))
    if state.removeprefix("JOB_STATE_") in ENDED:
        assert event is not None
        assert (event["status"], event["job_name"]) == (state.removeprefix("JOB_STATE_").lower(), NAME)
    else:
        assert event is None


def test_event_carries_the_job_and_not_the_sample_rows() -> None:
    job = TuningJob.parse(
        {
            "name": NAME,
            "state": "JOB_STATE_SUCCEEDED",
            "tuned_model": {
                "model": "projects/1/locations/us/models/2@1",
                "endpoint": "projects/1/locations/us/endpoints/3",
            },
            "tuning_data_stats": {
                "supervised_tuning_data_stats": {
                    "tuning_step_count": "40",
                    "user_dataset_examples": [{"parts": []}] * 99,
                }
            },
        }
    )
    event = terminal_event(job)
    assert event is not None
    assert event["job"]["tuned_model"]["endpoint"] == "projects/1/locations/us/endpoints/3"
    assert event["job"]["tuning_data_stats"] == {"supervised_tuning_data_stats": {"tuning_step_count": 40}}
    assert TuningJob.parse(event["job"]) == job


def test_text_from_templates_becomes_numbers_and_empty_text_is_not_given() -> None:
    parsed = spec(
        epoch_count="3", learning_rate_multiplier="0.5", adapter_size="8", validation_uri="", display_name="None"
    )
    assert (parsed.epoch_count, parsed.learning_rate_multiplier, parsed.adapter_size) == (3, 0.5, 8)
    assert parsed.validation_uri is None
    assert parsed.display_name is None


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("epoch_count", "0", ">= 1"),
        ("epoch_count", "many", "int"),
        ("learning_rate_multiplier", "-1", "> 0"),
        ("adapter_size", 3, "1, 2, 4, 8, 16, 32"),
        ("training_uri", "train.jsonl", "gs://"),
        ("display_name", "x" * 129, "128"),
        ("labels", {"Team": "x"}, "lower-case"),
        ("labels", {"team": "y" * 64}, "63"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_expected(field: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        spec(**{field: value})
    assert str(error.value).startswith(field)
    assert str(value if not isinstance(value, dict) else next(iter(value))) in str(error.value)
    assert expected in str(error.value)


def test_fingerprint_changes_with_what_is_asked_for_and_with_nothing_else() -> None:
    assert spec(epoch_count="3").fingerprint() == spec(epoch_count=3).fingerprint()
    assert len({spec(epoch_count=count).fingerprint() for count in (1, 2, None)}) == 3


def test_identity_tells_task_instances_apart_even_where_names_run_together() -> None:
    identities = {identity_of("a", "b_c", "r", -1), identity_of("a_b", "c", "r", -1), identity_of("a", "b_c", "r", 0)}
    assert len(identities) == 3


def test_identity_labels_are_labels_the_service_takes() -> None:
    identity = identity_of("d", "t", "manual__2026-01-01T00:00:00+00:00", -1)
    for key, value in identity_labels(identity, spec(), attempt=2).items():
        assert len(key) <= 63
        assert len(value) <= 63
        assert value == value.lower()


def job(number: int, state: str = "RUNNING", attempt: int = 1, created: str = "2026-01-01T00:00:00Z") -> TuningJob:
    labels = {"airflow-job-attempt": str(attempt)}
    return TuningJob(name=f"j{number}", state=f"JOB_STATE_{state}", create_time=created, labels=labels)


def test_of_jobs_created_at_once_the_oldest_is_elected_whoever_looks() -> None:
    old, new = job(2, created="2026-01-01T00:00:00Z"), job(1, created="2026-01-01T00:00:00.5Z")
    twin = job(3, created="2026-01-01T00:00:00Z")
    for jobs in itertools.permutations([old, new, twin]):
        assert elect(jobs) == old


def test_the_newest_attempt_is_elected_and_only_jobs_that_may_yield_a_model() -> None:
    assert elect([job(1, "SUCCEEDED"), job(2, "RUNNING", attempt=2), job(3, "FAILED", attempt=3)]) == job(2, attempt=2)
    assert elect([job(1, "FAILED"), job(2, "CANCELLED")]) is None


@pytest.mark.parametrize("code", range(17))
def test_the_error_code_decides_whether_another_job_may_succeed(code: int) -> None:
    failed = TuningJob.parse({"name": NAME, "state": "JOB_STATE_FAILED", "error": {"code": code}})
    passing = {Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL, Code.UNAVAILABLE}
    assert failed.failed_in_passing is (code in passing)


def test_a_failed_job_that_left_a_model_is_not_paid_for_again() -> None:
    data = {"name": NAME, "error": {"code": 13}, "tuned_model": {"model": "projects/1/locations/us/models/2@1"}}
    assert not TuningJob.parse(data).failed_in_passing


def test_a_job_can_be_asked_for_again_as_the_service_resolved_it() -> None:
    asked = spec(
        validation_uri="gs://b/v.jsonl", epoch_count=3, learning_rate_multiplier=0.5, adapter_size=8, display_name="m"
    )
    method = {
        "training_dataset_uri": asked.training_uri,
        "validation_dataset_uri": asked.validation_uri,
        "hyper_parameters": {"epoch_count": "3", "learning_rate_multiplier": 0.5, "adapter_size": "ADAPTER_SIZE_EIGHT"},
    }
    made = {
        "name": NAME,
        "base_model": asked.base_model,
        "tuned_model_display_name": "m",
        "supervised_tuning_spec": method,
    }
    assert TuningSpec.of(TuningJob.parse(made)) == asked


def test_progress_names_state_detail_step_and_epoch() -> None:
    running = TuningJob.parse(
        {
            "name": NAME,
            "state": "JOB_STATE_RUNNING",
            "tuning_job_state": "TUNING_JOB_STATE_TUNING",
            "tuning_job_metadata": {"completed_epoch_count": 1, "completed_step_count": 20},
            "supervised_tuning_spec": {"hyper_parameters": {"epoch_count": 4}},
            "tuning_data_stats": {"supervised_tuning_data_stats": {"tuning_step_count": 80}},
        }
    )
    assert describe_progress(running) == "RUNNING, tuning, step 20 of 80, epoch 1 of 4 completed"
    assert describe_progress(TuningJob(name=NAME, state="JOB_STATE_PENDING")) == "PENDING"
    queued = TuningJob(name=NAME, state="JOB_STATE_QUEUED", tuning_job_state="TUNING_JOB_STATE_WAITING_FOR_QUOTA")
    assert describe_progress(queued) == "QUEUED, waiting for quota"


def test_location_and_project_are_read_from_names() -> None:
    assert (location_of(NAME), project_of(NAME)) == ("us-central1", "123")
    with pytest.raises(ConfigurationError, match="projects/"):
        location_of("456")
