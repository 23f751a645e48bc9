"""One job for one task instance, whatever crashes, races or gets lost.

Vertex AI takes no request id, so its own list of jobs is the record: every job carries as labels for which task
instance it was created (identity), what was asked (fingerprint) and the how-manieth of that task instance it is
(attempt). Before creating we look there; after creating we look again, because another process may have done the same
at the same moment. All who look decide by the same rule (`jobs.elect`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal

from vertex_tuning.exceptions import ChangedSpecError, LostAnswerError, VertexUnavailableError
from vertex_tuning.jobs import ATTEMPT_LABEL, TuningJob, elect
from vertex_tuning.specs import TuningSpec, identity_labels

if TYPE_CHECKING:
    from vertex_tuning.hooks.tuning import VertexTuningHook

Reuse = Literal["active", "succeeded", "never"]
OnChangedSpec = Literal["cancel_and_recreate", "fail"]

LIST_LAG: Final = 30.0
"""Seconds a new job may be missing from the list; how long the service really takes is not known."""

log = logging.getLogger(__name__)


def submit(
    hook: VertexTuningHook,
    spec: TuningSpec,
    identity: str,
    *,
    reuse: Reuse = "succeeded",
    on_changed_spec: OnChangedSpec = "cancel_and_recreate",
    before_creating: Callable[[], None] = lambda: None,
) -> TuningJob:
    """Adopt the job of an earlier attempt, or create one.

    :param identity: of the task instance
    :param reuse: which earlier jobs that asked for the same will do: those still running, finished ones too, or none
    :param on_changed_spec: what becomes of an earlier job that still runs and asked for something else
    :param before_creating: called when no earlier job will do; what it raises keeps a job from being created
    :raises ChangedSpecError: there is such a job, and it is to fail
    :raises LostAnswerError: it is not known whether a job was created; the next attempt will find out
    :raises QuotaExceededError: nothing was created
    """
    earlier = hook.jobs_of(identity)
    same = [job for job in earlier if job.fingerprint == spec.fingerprint()]
    others = [job for job in earlier if job.is_live and job.fingerprint != spec.fingerprint()]
    if others and on_changed_spec == "fail":
        raise ChangedSpecError(f"{others[0].name} still runs for this task, but was asked for something else.")
    _cancel(hook, others, "it asks for something else than this task does now")
    if adopted := elect(job for job in same if _may_adopt(job, reuse)):
        log.info("Adopting %s (%s), created by an earlier attempt of this task.", adopted.name, adopted.state)
        _cancel(hook, (job for job in same if job.name != adopted.name), f"{adopted.name} does the same")
        return adopted
    _cancel(hook, same, "this task was told not to reuse it")
    attempt = 1 + max((job.attempt for job in earlier), default=0)
    before_creating()
    return _create(hook, spec, identity_labels(identity, spec, attempt))


def successor(hook: VertexTuningHook, job: TuningJob) -> TuningJob | None:
    """Another job of the same task instance that took this one's place, if there is one."""
    others = [one for one in hook.jobs_of(job.identity) if one.fingerprint == job.fingerprint]
    return elect(one for one in others if one.name != job.name and one.attempt >= job.attempt)


def resubmit(hook: VertexTuningHook, job: TuningJob) -> TuningJob:
    """Create the next job like one that has ended in vain, under the same identity and fingerprint."""
    return _create(hook, TuningSpec.of(job), {**job.labels, ATTEMPT_LABEL: str(job.attempt + 1)})


def _may_adopt(job: TuningJob, reuse: Reuse) -> bool:
    # A job that is being cancelled is not worth waiting for, though it is not over yet.
    running = job.is_live and job.state != "JOB_STATE_CANCELLING"
    return (running and reuse != "never") or (job.succeeded and reuse == "succeeded")


def _create(hook: VertexTuningHook, spec: TuningSpec, labels: dict[str, str]) -> TuningJob:
    wanted = TuningJob(name="", labels=labels)
    try:
        created = hook.create_tuning_job(spec, labels)
    except LostAnswerError as error:
        log.warning("The answer to the request for a tuning job was lost (%s); looking for the job.", error)
        rivals = _look(hook, wanted, until=lambda jobs: bool(jobs))
        if not rivals:
            raise
    else:
        log.info("Created %s: %s on %s.", created.name, spec.base_model, spec.training_uri)
        listed = _look(hook, wanted, until=lambda jobs: any(job.name == created.name for job in jobs))
        rivals = [created, *(job for job in listed if job.name != created.name)]
    chosen = elect(rivals) or rivals[0]
    _cancel(
        hook, (job for job in rivals if job.name != chosen.name), f"{chosen.name}, created for the same task, stays"
    )
    return chosen


def _look(hook: VertexTuningHook, wanted: TuningJob, until: Callable[[list[TuningJob]], bool]) -> list[TuningJob]:
    """The jobs of the same identity, fingerprint and attempt, as soon as they satisfy a condition or time is up."""
    deadline, pause = time.monotonic() + LIST_LAG, 0.2
    while True:
        rivals: list[TuningJob] = []
        try:
            rivals = [job for job in hook.jobs_of(wanted.identity) if _is_rival(job, wanted)]
        except VertexUnavailableError as error:
            log.warning("Looking for jobs of this task: %s", error)
        if until(rivals) or time.monotonic() + pause > deadline:
            return rivals
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def _is_rival(job: TuningJob, wanted: TuningJob) -> bool:
    return (job.fingerprint, job.attempt) == (wanted.fingerprint, wanted.attempt)


def _cancel(hook: VertexTuningHook, jobs: Iterable[TuningJob], why: str) -> None:
    for job in jobs:
        if job.is_live:
            log.warning("Cancelling %s: %s.", job.name, why)
            hook.cancel_tuning_job(job.name)
