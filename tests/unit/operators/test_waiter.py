"""What a task that waits makes of the event it is resumed with, without asking anyone."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning import exceptions
from vertex_tuning.jobs.job import TuningJob

from tests.support.tasks import TaskContext, sensor

NAME = "projects/1/locations/us-central1/tuningJobs/2"


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"status": "done", "job_name": NAME},
        {"status": "succeeded", "job_name": NAME.replace("/2", "/3")},
        {"status": "succeeded", "job_name": NAME.replace("projects/1/", "projects/7/")},
        {"status": "succeeded", "job_name": NAME.replace("us-central1", "europe-west4")},
        {"status": "succeeded", "job_name": "2"},
        {"status": "succeeded"},
    ],
)
def test_a_strange_event_fails_loudly(event: Any) -> None:
    with pytest.raises(exceptions.UnexpectedEventError):
        sensor(NAME).execute_complete(TaskContext(), event, job_name=NAME)  # type: ignore[arg-type]


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
    state = f"JOB_STATE_{status.upper()}"
    job = TuningJob.parse({"name": NAME, "state": state, "error": {"code": 3, "message": "The service's words."}})
    event = {"status": status, "job_name": NAME, "message": "The service's words.", "job": job.as_xcom()}
    with pytest.raises(kind, match=r"The service's words\."):
        sensor(NAME).execute_complete(TaskContext(), event, job_name=NAME)  # type: ignore[arg-type]
