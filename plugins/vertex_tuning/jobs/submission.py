"""Create exactly one job for a task instance, even after crashes, races and lost responses.

Vertex AI accepts no request id, so this module searches the list of jobs. Labels of each job give its task instance
(identity), its request (fingerprint), and its number among the jobs of the task instance (attempt). Each create has a
search before it and a search after it, because another process may create a job at the same time. All processes choose
a job by the same rule (`elect`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Final, Literal, Protocol

import msgspec

from vertex_tuning.exceptions import ChangedSpecError, LostAnswerError, TaskKilledError, TuningError
from vertex_tuning.jobs.job import (
    ATTEMPT_LABEL,
    CANDIDATE_LABEL,
    DEPLOYMENT_LABEL,
    ONCE_LABEL,
    RUN_LABEL,
    TuningJob,
    elect,
)
from vertex_tuning.jobs.spec import TuningSpec, identity_labels
from vertex_tuning.registry.aliases import TUNING_LABEL

Reuse = Literal["active", "succeeded", "never"]
OnChangedSpec = Literal["cancel_and_recreate", "fail"]

log = logging.getLogger(__name__)


class SearchTiming(msgspec.Struct, frozen=True):
    """How long a search goes on for a job that the list may not show yet. All in seconds.

    :param list_lag: how long a new job may be missing from the list; how long the service really takes is not known
    :param first_pause: pause after the first search, doubled after each further one
    :param longest_pause: limit of the pauses
    """

    list_lag: float = 30.0
    first_pause: float = 0.2
    longest_pause: float = 5.0


SEARCH_TIMING: Final = SearchTiming()


class JobService(Protocol):
    """The calls to Vertex AI that creating a job needs; the hook `VertexTuningHook` has them."""

    def client(self) -> object: ...

    def create_tuning_job(self, spec: TuningSpec, labels: Mapping[str, str]) -> TuningJob: ...

    def cancel_tuning_job(self, name: str) -> TuningJob: ...

    def jobs_of(self, identity: str) -> list[TuningJob]: ...

    def jobs_like(self, fingerprint: str) -> list[TuningJob]: ...


class Creations:
    """The jobs that a task has requested, so that a kill can cancel them at any time.

    Each request runs in a separate thread: a signal interrupts the task but not the request. The signal handler can
    wait for the response.

    :param timing: timing of the search for jobs after a lost response
    """

    def __init__(self, timing: SearchTiming = SEARCH_TIMING) -> None:
        self.timing = timing
        self.names: list[str] = []
        self.identity = ""
        self._closed = False
        self._unanswered = 0

    def create(self, hook: JobService, spec: TuningSpec, labels: dict[str, str], identity: str) -> TuningJob:
        """Create a job and keep its name for a kill.

        :raises TaskKilledError: the task was killed, so no job is created
        :raises LostAnswerError: it is not known whether the job was created
        """
        hook.client()  # connects here, so that the thread only sends the request
        self.identity = identity
        self.require_open()
        answer: Future[TuningJob] = Future()
        self._unanswered += 1
        request = partial(hook.create_tuning_job, spec, labels)
        threading.Thread(target=self._send, args=(request, answer), daemon=True).start()
        try:
            return answer.result()
        finally:
            del answer  # otherwise the traceback of an error would keep the connections of the hook open

    def _send(self, request: Callable[[], TuningJob], answer: Future[TuningJob]) -> None:
        try:
            job = request()
        except BaseException as error:  # noqa: BLE001 - raised again in the waiting thread
            if not isinstance(error, LostAnswerError):
                self._unanswered -= 1
            answer.set_exception(error)
        else:
            self.names.append(job.name)
            self._unanswered -= 1
            answer.set_result(job)
        finally:
            del request, answer

    def close(self) -> None:
        """Create no further job, because the task is being killed."""
        self._closed = True

    def require_open(self) -> None:
        """Check that the task has not been killed.

        :raises TaskKilledError: it has, so that its job is cancelled or no task waits for it
        """
        if self._closed:
            raise TaskKilledError("The task was killed.")

    def found(self, jobs: Iterable[TuningJob]) -> None:
        """Keep the names of jobs that were found after a lost response."""
        self.names.extend(job.name for job in jobs)
        self._unanswered = 0

    def cancel_all(self, hook: JobService) -> list[str]:
        """Create no further job, and cancel all created jobs.

        This waits for the response of a running request. After a lost response, it searches until the list of jobs must
        be complete.

        :returns: names of the cancelled jobs
        """
        self.close()
        deadline, pause, cancelled = time.monotonic() + self.timing.list_lag, self.timing.first_pause, list[str]()
        while True:
            for name in sorted({*self.names, *self._listed(hook)} - set(cancelled)):
                _cancel_one(hook, name, "the task was killed")
                cancelled.append(name)
            if not self._unanswered or time.monotonic() > deadline:
                return cancelled
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def _listed(self, hook: JobService) -> list[str]:
        try:
            jobs = hook.jobs_of(self.identity) if self.identity else []
            return [job.name for job in jobs if job.is_live and not job.is_cancelled]
        except TuningError as error:
            log.warning("Searching for jobs of this task: %s", error)
            return []


def submit(
    hook: JobService,
    spec: TuningSpec,
    identity: str,
    *,
    reuse: Reuse = "succeeded",
    on_changed_spec: OnChangedSpec = "cancel_and_recreate",
    before_creating: Callable[[], None] = lambda: None,
    requested: Collection[str] | None = None,
    creations: Creations | None = None,
) -> TuningJob:
    """Adopt the job of an earlier attempt, or create one.

    :param identity: identity of the task instance
    :param reuse: which earlier jobs with the same request to adopt: running, also succeeded, or no jobs
    :param on_changed_spec: what to do with an earlier job that still runs with another request
    :param before_creating: called before a job is created; if it raises an error, no job is created
    :param requested: fingerprints of the requests of earlier attempts. A job with another fingerprint does not belong
        to this task, even if its labels match. If not set, all fingerprints match
    :param creations: keeps the names of the created jobs, for a kill
    :raises ChangedSpecError: a job runs with another request, and `on_changed_spec` is `fail`
    :raises LostAnswerError: it is not known whether a job was created; the next attempt searches for it
    :raises QuotaExceededError: no job was created
    """
    earlier = hook.jobs_of(identity)
    same = [job for job in earlier if job.fingerprint == spec.fingerprint()]
    others = [job for job in earlier if job.is_live and job.fingerprint != spec.fingerprint()]
    others = [job for job in others if _was_requested(job, requested)]
    if others and on_changed_spec == "fail":
        raise ChangedSpecError(f"{others[0].name} of an earlier attempt still runs with other settings or data.")
    _cancel_first(hook, others, "this task now requests other settings or data")
    if adopted := elect(job for job in same if _may_adopt(job, reuse)):
        log.info("Adopting %s (%s), created by an earlier attempt of this task.", adopted.name, adopted.state)
        _cancel(hook, (job for job in same if job.name != adopted.name), f"{adopted.name} is the same job")
        return adopted
    _cancel_first(hook, same, f"reuse is {reuse!r}")
    if reuse == "succeeded" and (moved := _succeeded_as_another_candidate(hook, spec)):
        log.info("Adopting %s, which this run created before as another candidate.", moved.name)
        return moved
    attempt = 1 + max((job.attempt for job in earlier), default=0)
    before_creating()
    return _create(hook, spec, identity_labels(identity, spec, attempt), creations or Creations())


def _succeeded_as_another_candidate(hook: JobService, spec: TuningSpec) -> TuningJob | None:
    """A job with the same request that succeeded in the same run of a sweep, under another map index.

    A clear with other lists moves settings to another index.
    """
    shared = {label: spec.labels.get(label, "") for label in (TUNING_LABEL, DEPLOYMENT_LABEL, RUN_LABEL)}
    if CANDIDATE_LABEL not in spec.labels or not all(shared.values()):
        return None
    jobs = (job for job in hook.jobs_like(spec.fingerprint()) if CANDIDATE_LABEL in job.labels)
    return elect(job for job in jobs if job.succeeded and shared.items() <= job.labels.items())


def kin(hook: JobService, job: TuningJob) -> list[TuningJob]:
    """All jobs of the same task instance with the same request, including this job even if it is not listed yet."""
    listed = [other for other in hook.jobs_of(job.identity) if other.fingerprint == job.fingerprint]
    return [job, *(other for other in listed if other.name != job.name)]


def twin_of_another_run(hook: JobService, job: TuningJob) -> TuningJob | None:
    """A job of another run of the same tuning, with the same request, which replaces this job; else None.

    The oldest running job stays. A job that has ended is replaced by any of them.
    """
    if ONCE_LABEL not in job.labels:
        return None
    others = [other for other in jobs_of_other_runs(hook, job) if other.is_live and not other.is_cancelled]
    older = (other for other in others if not job.is_live or other.age_rank < job.age_rank)
    return min(older, key=lambda other: other.age_rank, default=None)


def jobs_of_other_runs(hook: JobService, job: TuningJob) -> list[TuningJob]:
    """Jobs of other runs of the same tuning and installation, on the same data with the same settings."""
    shared = {label: job.labels.get(label, "") for label in (TUNING_LABEL, DEPLOYMENT_LABEL)}
    jobs = hook.jobs_like(job.fingerprint)
    return [other for other in jobs if other.run != job.run and shared.items() <= other.labels.items()]


def settle(hook: JobService, jobs: Iterable[TuningJob]) -> TuningJob | None:
    """Keep one of the jobs of a task instance, cancel the other running jobs, and return the kept job."""
    jobs = list(jobs)
    chosen = elect(jobs)
    if chosen:
        _cancel(hook, (job for job in jobs if job.name != chosen.name), f"{chosen.name} of the same task stays")
    return chosen


def resubmit(hook: JobService, job: TuningJob, creations: Creations | None = None) -> TuningJob:
    """Create the next job after a failed job, with the same identity and fingerprint."""
    labels = {**job.labels, ATTEMPT_LABEL: str(job.attempt + 1)}
    return _create(hook, TuningSpec.of(job), labels, creations or Creations())


def _may_adopt(job: TuningJob, reuse: Reuse) -> bool:
    if job.succeeded:
        return reuse == "succeeded"
    return job.is_worth_waiting_for and reuse != "never"


def _was_requested(job: TuningJob, requested: Collection[str] | None) -> bool:
    if requested is None or job.fingerprint in requested:
        return True
    log.warning(
        "%s has the identity of this task, but this task never requested it, so it is not changed. If another Airflow "
        "installation created it, set a different [vertex_tuning] deployment in each installation.",
        job.name,
    )
    return False


def _create(hook: JobService, spec: TuningSpec, labels: dict[str, str], creations: Creations) -> TuningJob:
    wanted = TuningJob(name="", labels=labels)
    try:
        created = creations.create(hook, spec, labels, wanted.identity)
    except LostAnswerError as error:
        log.warning("The response to the request for a tuning job was lost (%s); searching for the job.", error)
        rivals = _search(hook, wanted, creations.timing, until=lambda jobs: bool(jobs))
        if not rivals:
            raise
        creations.found(rivals)
    else:
        log.info("Created %s: %s on %s.", created.name, spec.base_model, spec.training_uri)
        is_listed = lambda jobs: any(job.name == created.name for job in jobs)  # noqa: E731
        listed = _search(hook, wanted, creations.timing, until=is_listed)
        rivals = [created, *(job for job in listed if job.name != created.name)]
    chosen = elect(rivals) or rivals[0]
    _cancel(
        hook, (job for job in rivals if job.name != chosen.name), f"{chosen.name}, created for the same task, stays"
    )
    return chosen


def _search(
    hook: JobService, wanted: TuningJob, timing: SearchTiming, until: Callable[[list[TuningJob]], bool]
) -> list[TuningJob]:
    """The jobs with the same identity, fingerprint and attempt, once a condition is true or the timeout has passed.

    A job may exist already, so every failed search is repeated, also after an error that is normally permanent.
    """
    deadline, pause = time.monotonic() + timing.list_lag, timing.first_pause
    while True:
        rivals: list[TuningJob] = []
        try:
            rivals = [job for job in hook.jobs_of(wanted.identity) if _is_rival(job, wanted)]
        except TuningError as error:
            log.warning("Searching for jobs of this task: %s", error)
        if until(rivals) or time.monotonic() + pause > deadline:
            return rivals
        time.sleep(pause)
        pause = min(2 * pause, timing.longest_pause)


def _is_rival(job: TuningJob, wanted: TuningJob) -> bool:
    return (job.fingerprint, job.attempt) == (wanted.fingerprint, wanted.attempt)


def _cancel(hook: JobService, jobs: Iterable[TuningJob], why: str) -> None:
    for job in jobs:
        if job.is_live and not job.is_cancelled:
            _cancel_one(hook, job.name, why)


def _cancel_first(hook: JobService, jobs: Iterable[TuningJob], why: str) -> None:
    """Cancel jobs before a new job is created.

    :raises TuningError: a job could not be cancelled; no job is created then, because two would run
    """
    for job in jobs:
        if job.is_live and not job.is_cancelled:
            log.warning("Cancelling %s: %s.", job.name, why)
            hook.cancel_tuning_job(job.name)


def _cancel_one(hook: JobService, name: str, why: str) -> None:
    """Cancel a job; if that fails, the wait task, the teardown or the clean-up DAG cancels it later."""
    log.warning("Cancelling %s: %s.", name, why)
    try:
        hook.cancel_tuning_job(name)
    except TuningError as error:
        log.error("%s", error)
