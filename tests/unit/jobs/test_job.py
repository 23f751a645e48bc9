from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from google.genai.types import JobState
from google.rpc.code_pb2 import Code
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import TuningJob, describe_progress, elect, newest, terminal_event
from vertex_tuning.jobs.spec import Origin, TuningSpec, identity_labels, identity_of
from vertex_tuning.resources.resource_names import location_of, project_of

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


HOSTILE = "\x1b[2K\x1b]8;;https://evil\x1b\\x\n[2026-11-27] INFO - Marking task as SUCCESS\u202e\0\ud800\u2028"
UNSTORABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\u2028]")


def reported(**fields: Any) -> TuningJob:
    return TuningJob.parse(
        {"name": NAME, "state": "JOB_STATE_SUCCEEDED", "create_time": "2026-01-01T00:00:00Z", **fields}
    )


def texts_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts_of(part)


@pytest.mark.parametrize(
    "fields",
    [
        {"state": f"JOB_STATE_{HOSTILE}"},
        {"tuning_job_state": HOSTILE},
        {"description": HOSTILE},
        {"labels": {HOSTILE: HOSTILE}},
        {"base_model": HOSTILE},
        {"experiment": HOSTILE},
        {"gcs_metrics_uri": HOSTILE},
        {"tuned_model_display_name": HOSTILE},
        {"pre_tuned_model": {"tuned_model_name": HOSTILE}},
        {"supervised_tuning_spec": {"training_dataset_uri": HOSTILE, "hyper_parameters": {"adapter_size": HOSTILE}}},
        {"tuned_model": {"model": HOSTILE, "endpoint": HOSTILE, "checkpoints": [{"checkpoint_id": HOSTILE}]}},
        {"tuning_data_stats": {"supervised_tuning_data_stats": {"dropped_example_reasons": [HOSTILE]}}},
        {"error": {"code": 3, "message": HOSTILE}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_no_text_of_a_job_can_forge_a_log_or_break_the_database(fields: dict[str, Any]) -> None:
    job = reported(**fields)
    assert not UNSTORABLE.search(describe_progress(job))
    assert not any(UNSTORABLE.search(text) for text in texts_of(job.as_xcom()))
    assert TuningJob.parse(job.as_xcom()) == job


def test_a_job_stays_small_whatever_is_reported() -> None:
    reasons = [f"Example {number} exceeds the maximum number of tokens and was dropped." for number in range(100_000)]
    event = terminal_event(
        reported(
            tuning_data_stats={"supervised_tuning_data_stats": {"dropped_example_reasons": reasons}},
            description="d" * 8_000_000,
            labels={f"l{number}": "b" * 100_000 for number in range(10_000)},
            tuned_model={"checkpoints": [{"checkpoint_id": "x" * 10_000}] * 10_000},
            state="JOB_STATE_FAILED",
            error={"code": 3, "message": "m" * 8_000_000},
        )
    )
    assert len(json.dumps(event)) < 500_000
    assert event is not None
    stats = event["job"]["tuning_data_stats"]["supervised_tuning_data_stats"]
    assert stats["dropped_example_reasons"] == reasons[:20]


@pytest.mark.parametrize("field", ["create_time", "start_time", "end_time"])
@pytest.mark.parametrize(
    "time", ["soon", "2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z", "9" * 5000]
)
def test_a_time_that_cannot_be_read_is_a_job_that_cannot_be_read(field: str, time: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{field}: found .*, expected a time with a time zone"):
        reported(**{field: time})


@pytest.mark.parametrize(
    "time", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789Z", "2026-01-01T01:00:00.5+01:00", ""]
)
def test_a_time_as_the_service_writes_it_is_read(time: str) -> None:
    assert reported(create_time=time).create_time == time


@pytest.mark.parametrize(
    "data",
    [{"name": 5}, {"state": 5}, {"labels": []}, {"tuned_model": []}, {"error": "x"},
     {"tuned_model": {"checkpoints": {}}},
     {"tuning_data_stats": {"supervised_tuning_data_stats": {"tuning_step_count": "9" * 5000}}}],
)  # fmt: skip
def test_what_is_no_job_is_one_kind_of_error(data: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        reported(**data)


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


def test_what_changes_no_training_changes_no_fingerprint() -> None:
    """So that a description with a date in it, rendered again in a retry, does not pay for a second job."""
    names = {"display_name": "x", "description": "on Monday", "labels": {"team": "y"}}
    assert spec(**names).fingerprint() == spec().fingerprint()


def test_data_counts_by_its_content_where_that_is_known() -> None:
    content = "ab" * 32
    here, there = (spec(training_uri=f"gs://{place}/train.jsonl", dataset_hash=content) for place in ("here", "there"))
    assert here.fingerprint() == there.fingerprint()
    assert here.fingerprint() != spec(training_uri="gs://here/train.jsonl").fingerprint()
    assert here.fingerprint() != spec(training_uri="gs://here/train.jsonl", dataset_hash="cd" * 32).fingerprint()


@pytest.mark.parametrize(
    "fields",
    [
        {"base_model": "gemini-2.5-pro"},
        {"training_uri": "gs://bucket/other.jsonl"},
        {"validation_uri": "gs://bucket/validation.jsonl"},
        {"epoch_count": 2},
        {"learning_rate_multiplier": 0.5},
        {"adapter_size": 4},
        {"export_last_checkpoint_only": True},
        {"checkpoint_id": "2"},
    ],
)
def test_what_changes_the_training_changes_it(fields: dict[str, Any]) -> None:
    assert spec(**fields).fingerprint() != spec().fingerprint()


def test_an_upgrade_changes_no_fingerprint() -> None:
    """Pinned: jobs that run while the package is upgraded must be found again."""
    assert spec().fingerprint() == "b4b1c60274da14b3"
    assert spec(epoch_count=3, adapter_size=4, dataset_hash="ab" * 32).fingerprint() == "e0debf8c8f636060"


def test_a_job_says_which_run_it_is_of_and_is_believed_only_when_its_labels_agree() -> None:
    origin = Origin("production", "retrain_ä", "manual__2026-01-01T00:00:00+00:00", "create", 3)
    job = TuningJob(name=NAME, description=origin.describe("A note.\nOf two lines."), labels=origin.labels)
    assert (job.description or "").startswith("A note.")
    assert Origin.of(job) == origin
    assert Origin.of(TuningJob(name=NAME, description=job.description)) is None
    other = Origin("production", "retrain_x", "r", "create")
    assert Origin.of(TuningJob(name=NAME, description=other.describe(None), labels=origin.labels)) is None
    for odd in ("Created by Airflow: {", 'Created by Airflow: {"dag": 1}', "", None, "Created by Airflow: []"):
        assert Origin.of(TuningJob(name=NAME, description=odd, labels=origin.labels)) is None


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


def test_one_that_is_being_cancelled_is_not_elected() -> None:
    assert elect([job(1, "CANCELLING"), job(2, "PENDING")]) == job(2, "PENDING")
    assert newest([job(1, "CANCELLING"), job(2, "PENDING")]) == job(2, "PENDING")


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
