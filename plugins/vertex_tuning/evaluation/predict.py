"""Send many prompts to an endpoint in parallel, with a back-off while it is not ready or overloaded."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import pendulum
import tenacity

from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.evaluation.expectations import FOUND_SHOWN, Reply
from vertex_tuning.exceptions import EndpointTimeoutError, VertexRequestError, VertexUnavailableError
from vertex_tuning.results import SmokeAnswer
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, NAME_SHOWN, plain, storable

if TYPE_CHECKING:
    from google.genai import types


PARALLEL_REQUESTS: Final = 8
"""Requests to a model at the same time."""

PROGRESS_INTERVAL: Final = 1.0
"""Seconds between two reports of progress."""

MAX_WAIT_ON_WORKER: Final = 60.0
"""Seconds of pauses that are no reason yet to leave the worker."""

MIN_DEFERRAL: Final = 60.0
"""Seconds to stay away from an endpoint at least, once the worker is left."""

REFUSALS_LOGGED: Final = 3
"""Of an endpoint that refuses many prompts."""

log = logging.getLogger(__name__)


class Backoff(msgspec.Struct, frozen=True):
    """Seconds from a refusal to the next try, doubled each time.

    The service's guide to retries advises 1 s at least:
    https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/retry-strategy

    :param first: after the first refusal
    :param longest: limit of the pauses
    """

    first: float = 1.0
    longest: float = 16.0


BACKOFF: Final = Backoff()


class Predictor(Protocol):
    """What sends prompts to a model; the hook `VertexTuningHook` does it."""

    def client(self, resource_name: str) -> object: ...

    def generate(
        self, model: str, contents: list[dict[str, Any]], config: Mapping[str, Any]
    ) -> types.GenerateContentResponse: ...


class PredictLaterError(VertexUnavailableError):
    """The endpoint still refuses prompts before the deadline: defer the task and predict the rest later.

    :param answers: answers so far; pass them to the next :func:`predict_all`
    """

    def __init__(self, message: str, answers: list[SmokeAnswer]) -> None:
        super().__init__(message)
        self.answers = answers


def predict_all(
    hook: Predictor,
    endpoint: str,
    cases: Sequence[SmokeCase],
    *,
    deadline: float,
    parallel: int = PARALLEL_REQUESTS,
    patience: float = MAX_WAIT_ON_WORKER,
    backoff: Backoff = BACKOFF,
    answered: Iterable[SmokeAnswer] = (),
    on_progress: Callable[[list[SmokeAnswer]], None] | None = None,
) -> list[SmokeAnswer]:
    """Predict all cases, several at a time, and judge the responses.

    A temporary error (endpoint not ready, 429, 5xx, broken connection) is retried with exponential back-off.

    :param endpoint: `projects/…/locations/…/endpoints/ID`, or `…/publishers/google/models/ID` for a base model;
        requests go to its location
    :param cases: cases with unique names
    :param deadline: Unix time after which no request is retried
    :param parallel: number of requests at the same time
    :param patience: retry budget: seconds of pauses in a thread, after which to stop for now
    :param backoff: pauses between an error and the next attempt
    :param answered: answers of an earlier call; their prompts are not sent again
    :param on_progress: gets the answers so far, every few seconds and at the end
    :returns: an answer for each case, in the order of the cases
    :raises PredictLaterError: the retry budget is used up before the deadline; has the answers so far
    :raises EndpointTimeoutError: the deadline has passed; names the last error
    :raises VertexRequestError: an error that a retry cannot fix; names the case
    """
    known = {(answer.name, answer.prompt): answer for answer in answered}
    todo = [case for case in cases if (case.name, storable(case.question)) not in known]
    retry_budget = _RetryBudget(deadline, patience)

    def report(futures: Iterable[Future[SmokeAnswer]]) -> None:
        fresh = [future.result() for future in futures if not _has_failed(future)]
        known.update({(answer.name, answer.prompt): answer for answer in fresh})
        if on_progress:
            on_progress(list(known.values()))

    futures = _run(_CasePredictor(hook, endpoint, retry_budget, backoff), todo, parallel, report)
    if failure := _failure(futures):
        if not isinstance(failure, VertexUnavailableError):
            raise failure
        if retry_budget.out_of_time:
            raise EndpointTimeoutError(
                f"Waited for {endpoint} until time was over. Refused last: {failure}"
            ) from failure
        raise PredictLaterError(str(failure), list(known.values())) from failure
    return [known[case.name, storable(case.question)] for case in cases]


def next_attempt(deadline: float) -> pendulum.DateTime:
    """Time of the next attempt after a `PredictLaterError`: in one or two minutes, or earlier, at the deadline."""
    # Jitter, so that tasks that fail at the same time do not always retry at the same time.
    moment = time.time() + MIN_DEFERRAL * random.uniform(1, 2)  # noqa: S311 - no secret
    return pendulum.from_timestamp(min(moment, deadline))


def reply_of(response: types.GenerateContentResponse, latency: float) -> Reply:
    """The first candidate of a response, or the reason why it is missing."""
    candidate = response.candidates[0] if response.candidates else None
    feedback, usage = response.prompt_feedback, response.usage_metadata
    reason = (candidate and candidate.finish_reason) or None
    blocked = feedback and feedback.block_reason
    why = (feedback and feedback.block_reason_message) or ""
    return Reply(
        text=storable(response.text or "").strip(),
        finish_reason=plain(reason.value, NAME_SHOWN) if reason else ("FINISH_REASON_UNSPECIFIED" if candidate else ""),
        blocked=plain(f"{blocked.value} {why}".strip()) if blocked else "",
        latency=round(latency, 3),
        tokens=(usage and usage.total_token_count) or 0,
    )


class _RetryBudget:
    """Limits of the retries, shared by all threads: the first thread that reaches a limit stops all of them.

    :param deadline: Unix time
    :param patience: most seconds of pauses in a thread
    """

    def __init__(self, deadline: float, patience: float) -> None:
        self.deadline, self.patience = deadline, patience
        self.paused: dict[int, float] = defaultdict(float)
        self.out_of_time = False
        self.over = threading.Event()
        self.refusals = 0

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        """Whether the next pause would exceed a limit."""
        thread = threading.get_ident()
        self.paused[thread] += state.upcoming_sleep
        self.out_of_time |= time.time() + state.upcoming_sleep > self.deadline
        if self.paused[thread] > self.patience or self.out_of_time:
            self.over.set()
        return self.over.is_set()

    def log_refusal(self, state: tenacity.RetryCallState) -> None:
        self.refusals += 1
        level = logging.WARNING if self.refusals <= REFUSALS_LOGGED else logging.DEBUG
        log.log(level, "Trying again in %.0f s. %s", state.upcoming_sleep, state.outcome and state.outcome.exception())


class _CasePredictor:
    def __init__(self, hook: Predictor, endpoint: str, retry_budget: _RetryBudget, backoff: Backoff) -> None:
        self.hook, self.endpoint, self.retry_budget = hook, endpoint, retry_budget
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(VertexUnavailableError),
            wait=tenacity.wait_exponential_jitter(initial=backoff.first, max=backoff.longest),
            stop=retry_budget.is_over,
            sleep=tenacity.sleep_using_event(retry_budget.over),
            before_sleep=retry_budget.log_refusal,
            reraise=True,
        )

    def predict(self, case: SmokeCase) -> SmokeAnswer:
        try:
            reply = self._retrying(self._generate, case)
        except VertexRequestError as error:
            raise type(error)(f"Case {case.name!r}: {error}") from error
        answer = SmokeAnswer(
            name=case.name,
            prompt=storable(case.question),
            answer=reply.text,
            problem=plain(case.problem(reply), MESSAGE_SHOWN),
            latency=reply.latency,
            tokens=reply.tokens,
            finish_reason=reply.finish_reason,
        )
        text = plain(answer.answer, FOUND_SHOWN)
        log.debug("%s: '%s' in %.1f s: %s", case.name, text, answer.latency, answer.problem or "passed")
        return answer

    def _generate(self, case: SmokeCase) -> Reply:
        started = time.monotonic()
        response = self.hook.generate(self.endpoint, case.contents(), case.config())
        return reply_of(response, time.monotonic() - started)


def _run(
    predictor: _CasePredictor,
    cases: Sequence[SmokeCase],
    parallel: int,
    report: Callable[[Iterable[Future[SmokeAnswer]]], None],
) -> list[Future[SmokeAnswer]]:
    """Predict until all cases have an answer or a case fails; then finish the requests that are running."""
    if not cases:
        return []
    # Created here, so that the threads share one client.
    predictor.hook.client(predictor.endpoint)
    with ThreadPoolExecutor(parallel, thread_name_prefix="predict") as pool:
        futures = [pool.submit(predictor.predict, case) for case in cases]
        try:
            pending: Collection[Future[SmokeAnswer]] = futures
            while pending and not predictor.retry_budget.over.is_set():
                done, pending = wait(pending, PROGRESS_INTERVAL, return_when=FIRST_EXCEPTION)
                report(future for future in futures if future.done())
                if any(map(_has_failed, done)):
                    break
        finally:
            predictor.retry_budget.over.set()
            pool.shutdown(cancel_futures=True)
    report(futures)
    return futures


def _has_failed(future: Future[SmokeAnswer]) -> bool:
    return future.cancelled() or future.exception() is not None


def _failure(futures: Iterable[Future[SmokeAnswer]]) -> BaseException | None:
    """The error that stopped the predictions: rather one that a retry cannot fix."""
    failures = [error for future in futures if not future.cancelled() and (error := future.exception())]
    return min(failures, key=lambda error: isinstance(error, VertexUnavailableError), default=None)
