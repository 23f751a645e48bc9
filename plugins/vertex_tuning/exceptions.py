"""Errors of this package. The class says whether a retry can help, never the message."""

from __future__ import annotations

from typing import Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class TuningError(AirflowException):
    """Base of every error this package raises."""


class PermanentError(TuningError, AirflowFailException):
    """A person must change something first. Airflow does not retry the task, in any DAG."""


class TransientError(TuningError):
    """The next attempt may succeed."""


class ConfigurationError(PermanentError):
    """A connection, an argument or a field is missing or has a value that cannot work."""


class DatasetError(PermanentError):
    """The dataset is missing, empty, or has rows the service would refuse."""


class CostLimitError(PermanentError):
    """The estimated cost is over the limit, or there is no price to compare with the limit."""


class BudgetExceededError(CostLimitError):
    """The jobs of the last 30 days and this run together are over the budget."""


class VertexRequestError(PermanentError):
    """Google refused the request itself: invalid, forbidden, not found."""


class NotFoundError(VertexRequestError):
    """The resource does not exist."""


class ContentMismatchError(PermanentError):
    """An object whose name is a hash of its content has other content."""


class ConnectionNotFoundError(TransientError):
    """Airflow has no such connection, or could not read its store: Airflow reports both in one way."""


class VertexUnavailableError(TransientError):
    """Google could not be reached, was overloaded or had an internal error."""


class EndpointNotReadyError(VertexUnavailableError):
    """The endpoint does not respond yet: its model is being deployed or not visible everywhere."""


class EndpointTimeoutError(PermanentError):
    """The endpoint refused prompts for as long as the task was allowed to wait."""


class LostAnswerError(VertexUnavailableError):
    """A request was sent and its response was lost: the service may have carried it out."""


class TaskKilledError(TransientError):
    """Airflow killed the task before it created a job."""


class QuotaExceededError(TransientError):
    """The project has no quota for another tuning job now."""


class QuotaTimeoutError(PermanentError):
    """The quota stayed used up until the task's deadline."""


class TuningJobFailedError(PermanentError):
    """The job ended as FAILED, with Vertex AI's own message. The same job would fail again."""


class TuningJobExpiredError(PermanentError):
    """The job ended as EXPIRED: the service stopped it. A person decides about another job."""


class TuningJobPartiallySucceededError(PermanentError):
    """The job ended as PARTIALLY_SUCCEEDED. A model made from part of the data needs a person's decision."""


class TuningJobCancelledError(PermanentError):
    """A person cancelled the job and decides about another one."""


class ChangedSpecError(PermanentError):
    """The job of an earlier attempt still runs with other settings, and `on_changed_spec` is `fail`."""


class TuningJobTimeoutError(PermanentError):
    """The job had not ended when the deadline came."""


class PollingError(TransientError):
    """The state of the job could not be read; the job itself may be fine."""


class UnexpectedEventError(PermanentError):
    """The task was resumed with an event that its trigger never sends."""


class JobNotEndedError(TransientError):
    """The job has not ended, but this task needs an ended job. The service may show the end late."""


class MetricsError(PermanentError):
    """The job's metrics are missing or cannot be read."""


class SweepError(PermanentError):
    """Too few candidates of a sweep succeeded, so there is no best one."""


class SmokeTestError(PermanentError):
    """The responses of the tuned model do not meet the expectations of its smoke test."""


class ModelRefusedError(PermanentError):
    """The new model does not pass its gates or is not better than the model in use. Nothing was changed."""


class ChampionError(PermanentError):
    """The model in use is unclear, has changed or cannot be compared with. A person or a new run must decide."""


class NotifierError(TransientError):
    """A message to people was not sent. The run is not affected."""


class QuestionChangedError(PermanentError):
    """Airflow would show a person the first question of this run, but the question has changed."""


class RetiredModelWarning(UserWarning):
    """Google has retired the base model or will retire it. The warning comes before a job costs money."""


RETRYABLE_HTTP: Final = frozenset({408, 429, 499, 500, 502, 503, 504})
"""HTTP codes of short, temporary errors."""

_PASSING: Final = frozenset({401, 407, 408, 409, 425, 429, 499})
"""HTTP codes 4xx that a retry may not get: an expired token, a proxy, two simultaneous changes."""

_NOT_FOUND: Final = 404
_BLAME: Final = range(400, 500)


def error_of(http_code: int, message: str, *, from_google: bool) -> VertexRequestError | VertexUnavailableError:
    """The error for a failed request.

    :param http_code: HTTP status code of the response
    :param message: text of the error
    :param from_google: the response has the form of Google's errors; a refusal of a proxy says nothing of the request
    """
    if not from_google or http_code not in _BLAME or http_code in _PASSING:
        return VertexUnavailableError(message)
    return NotFoundError(message) if http_code == _NOT_FOUND else VertexRequestError(message)


class SmallSampleWarning(UserWarning):
    """The sample of a tuning is too small for its promotion rule."""
