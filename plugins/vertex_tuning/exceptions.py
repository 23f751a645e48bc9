"""What can go wrong, one class each. Whether a retry can help is the class, never the message."""

from __future__ import annotations

from typing import Final

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class TuningError(AirflowException):
    """Base of every error this package raises."""


class PermanentError(TuningError, AirflowFailException):
    """The same call would fail again: a person must change something first. Airflow does not retry it, in any DAG."""


class TransientError(TuningError):
    """The next attempt may well succeed."""


class ConfigurationError(PermanentError):
    """A connection, an argument or a field is missing or has a value that cannot work."""


class DatasetError(PermanentError):
    """The dataset is missing, empty, or has rows the service would refuse."""


class CostLimitError(PermanentError):
    """The run would cost more than it may, or nobody knows what it would cost."""


class VertexRequestError(PermanentError):
    """Google refused the request itself: invalid, forbidden, not found."""


class NotFoundError(VertexRequestError):
    """There is nothing of that name."""


class ContentMismatchError(PermanentError):
    """An object that is named by its content holds something else."""


class ConnectionNotFoundError(TransientError):
    """Airflow knows no such connection, or could not ask where it is kept: of both it says that it is not defined."""


class VertexUnavailableError(TransientError):
    """Google could not be reached, was overloaded or failed inside."""


class EndpointNotReadyError(VertexUnavailableError):
    """The endpoint does not answer yet: its model is still being deployed, or is not to be seen everywhere."""


class EndpointTimeoutError(PermanentError):
    """The endpoint refused prompts for as long as the task was allowed to wait."""


class LostAnswerError(VertexUnavailableError):
    """A request was sent and no answer came: what it asked for may have happened."""


class TaskKilledError(TransientError):
    """Airflow killed the task while it was about to create a job."""


class QuotaExceededError(TransientError):
    """As many tuning jobs run as the project may have."""


class QuotaTimeoutError(PermanentError):
    """There was no quota for a job for as long as the task was allowed to wait for it."""


class TuningJobFailedError(PermanentError):
    """The job ended as FAILED; the message is Vertex AI's own. Another job like it would fail as well."""


class TuningJobExpiredError(PermanentError):
    """The job ended as EXPIRED: the service gave it up. Whether another one may take as long, a person decides."""


class TuningJobPartiallySucceededError(PermanentError):
    """The job ended as PARTIALLY_SUCCEEDED; a model made from part of the data is not put to use unseen."""


class TuningJobCancelledError(PermanentError):
    """Somebody cancelled the job; starting another is that person's decision."""


class ChangedSpecError(PermanentError):
    """An earlier attempt's job still runs, but asks for something else, and `on_changed_spec` is `fail`."""


class TuningJobTimeoutError(PermanentError):
    """The job had not ended when the deadline came."""


class PollingError(TransientError):
    """The state of the job could not be read; the job itself may be fine."""


class UnexpectedEventError(PermanentError):
    """The task was resumed with something its trigger never sends."""


class JobNotEndedError(TransientError):
    """The job has not ended, which this task takes for granted; right after its end not every look may show it."""


class MetricsError(PermanentError):
    """The job's metrics are missing or cannot be read."""


class SmokeTestError(PermanentError):
    """The tuned model answered, but not as its smoke test expects."""


class ModelRefusedError(PermanentError):
    """The new model does not pass its gates or is not better than the one in use; nothing was changed."""


class ChampionError(PermanentError):
    """The model in use cannot be compared with, or is another by now: a person decides, or a new run."""


class QuestionChangedError(PermanentError):
    """A person would be shown an older question than the one that is to be decided: Airflow keeps the first."""


class RetiredModelWarning(UserWarning):
    """A base model is gone or going; said before a job on it is paid for."""


RETRYABLE_HTTP: Final = frozenset({408, 429, 499, 500, 502, 503, 504})
"""What Google answers to trouble that passes within moments."""

_PASSING: Final = frozenset({401, 407, 408, 409, 425, 429, 499})
"""Among the answers that blame the request, those that a later one may not get: a token that has just run out, a proxy,
two that change the same thing at once."""

_NOT_FOUND: Final = 404
_BLAME: Final = range(400, 500)


def error_of(http_code: int, message: str, *, from_google: bool) -> VertexRequestError | VertexUnavailableError:
    """The error for an answer that is none.

    :param from_google: whether it has the form of Google's errors; a proxy's refusal says nothing of the request
    """
    if not from_google or http_code not in _BLAME or http_code in _PASSING:
        return VertexUnavailableError(message)
    return NotFoundError(message) if http_code == _NOT_FOUND else VertexRequestError(message)
