"""What follows an end of a job: every state, origin and attempt."""

from __future__ import annotations

import pytest
from vertex_tuning import exceptions
from vertex_tuning.jobs.job import RpcStatus, TunedModel, TuningJob
from vertex_tuning.jobs.wait import Done, Fail, JobWait, Resubmit, Wait

STATES = [
    *("UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED", "PAUSED"),
    *("EXPIRED", "UPDATING", "PARTIALLY_SUCCEEDED", "OF_TOMORROW"),
]
NEVER_LEFT = {
    "FAILED": exceptions.TuningJobFailedError,
    "CANCELLED": exceptions.TuningJobCancelledError,
    "EXPIRED": exceptions.TuningJobExpiredError,
    "PARTIALLY_SUCCEEDED": exceptions.TuningJobPartiallySucceededError,
}
PASSING, FINAL = RpcStatus(code=14, message="Busy."), RpcStatus(code=3, message="Odd data.")


def job(number: int, state: str, attempt: int = 1, error: RpcStatus | None = None, model: str = "") -> TuningJob:
    return TuningJob(
        name=f"projects/1/locations/us-central1/tuningJobs/{number}",
        state=f"JOB_STATE_{state}",
        labels={"airflow-job-attempt": str(attempt)},
        create_time=f"2026-01-01T00:00:{number:02}Z",
        error=error,
        tuned_model=TunedModel(model=model) if model else None,
    )


@pytest.mark.parametrize("was_cleared", [False, True])
@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
@pytest.mark.parametrize("resubmit", [False, True])
@pytest.mark.parametrize("error", [None, PASSING, FINAL])
@pytest.mark.parametrize("state", STATES)
def test_every_state_origin_and_attempt(
    state: str, error: RpcStatus | None, resubmit: bool, attempt: int, was_cleared: bool
) -> None:
    one = job(1, state, attempt, error)
    step = JobWait(resubmit, max_job_attempts=3, cleared=one.name if was_cleared else "").next([one])
    if state == "SUCCEEDED":
        assert step == Done(one)
    elif state not in NEVER_LEFT:
        assert step == Wait(one)
    elif resubmit and attempt < 3 and (error == PASSING or (was_cleared and state == "CANCELLED")):
        assert step == Resubmit(one, error.message if error else one.state)
    else:
        assert isinstance(step, Fail)
        assert type(step.error) is NEVER_LEFT[state]
        assert (error.message if error else "no reason was given") in str(step.error)


def test_a_clear_excuses_the_cancel_of_its_own_job_alone() -> None:
    first, second = job(1, "CANCELLED"), job(2, "CANCELLED", 2)
    assert isinstance(JobWait(True, 3, cleared=first.name).next([first, second]), Fail)
    assert JobWait(True, 3, cleared=second.name).next([first, second]) == Resubmit(second, "JOB_STATE_CANCELLED")


def test_a_job_that_left_a_model_is_not_paid_for_again() -> None:
    left = job(1, "FAILED", error=PASSING, model="projects/1/locations/us-central1/models/1@1")
    assert isinstance(JobWait(True, 3).next([left]), Fail)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        # the newest attempt counts, whatever the one waited for was
        ([job(1, "FAILED", error=PASSING), job(2, "RUNNING", 2)], Wait(job(2, "RUNNING", 2))),
        ([job(1, "FAILED", error=PASSING), job(2, "SUCCEEDED", 2)], Done(job(2, "SUCCEEDED", 2))),
        ([job(1, "FAILED", error=PASSING), job(2, "CANCELLED", 2)], exceptions.TuningJobCancelledError),
        ([job(1, "FAILED", error=PASSING), job(2, "FAILED", 2, FINAL)], exceptions.TuningJobFailedError),
        # twins: the one that was cancelled for the other's sake does not count
        ([job(1, "CANCELLED"), job(2, "RUNNING")], Wait(job(2, "RUNNING"))),
        ([job(1, "CANCELLING"), job(2, "PENDING")], Wait(job(2, "PENDING"))),
        ([job(1, "CANCELLED"), job(2, "FAILED", error=PASSING)], Resubmit(job(2, "FAILED", error=PASSING), "Busy.")),
        ([job(1, "RUNNING"), job(2, "RUNNING")], Wait(job(1, "RUNNING"))),
        # a model that was paid for is not given up for a newer job that yields none
        ([job(1, "SUCCEEDED"), job(2, "CANCELLED", 2)], Done(job(1, "SUCCEEDED"))),
    ],
)
def test_of_several_jobs(jobs: list[TuningJob], expected: object) -> None:
    for order in (jobs, jobs[::-1]):
        step = JobWait(resubmit=True, max_job_attempts=3).next(order)
        if isinstance(expected, type):
            assert isinstance(step, Fail)
            assert type(step.error) is expected
        else:
            assert step == expected
