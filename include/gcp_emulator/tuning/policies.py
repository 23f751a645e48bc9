"""Policies of `/_internal/lifecycle` for jobs: scripted, by hand, failing, or at another pace."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from ..errors import ApiError, InvalidArgument
from ..expressions import check_expression, fullmatch
from ..state import Resource

MAX_SECONDS: Final = 86_400.0

Seconds = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]


class ScriptedState(msgspec.Struct, forbid_unknown_fields=True):
    """A state and its duration in seconds."""

    state: Literal[
        "JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_PAUSED", "JOB_STATE_UPDATING"
    ]
    seconds: Seconds = 0.0


class Failure(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """How a job fails.

    :param code: google.rpc.Code number
    :param step: the training step before which it fails; 0 is before the first
    :param at_deployment: fail after the upload of the model instead, without an endpoint
    """

    code: int = 13
    message: str = "Internal error occurred."
    step: Annotated[int, msgspec.Meta(ge=0)] = 0
    at_deployment: bool = False


class Policy(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """How the jobs run that a policy matches.

    :param labels: labels that a job must have; an empty value matches all jobs
    :param display_name: regular expression (see expressions.py) for the whole display name
    :param count: number of jobs that it applies to; None for all
    :param script: states to go through instead of training
    :param metrics: values of each series by step, for a scripted job
    :param final_state: how a scripted job ends
    :param manual: wait for `advance` before each change of state
    :param time_scale: factor on all pauses and on the duration of training steps
    """

    labels: dict[str, str] = {}
    display_name: str = ".*"
    count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    script: list[ScriptedState] | None = None
    metrics: dict[str, list[float]] = {}
    final_state: Literal["JOB_STATE_SUCCEEDED", "JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED"] = (
        "JOB_STATE_SUCCEEDED"
    )
    failure: Failure | None = None
    manual: bool = False
    time_scale: Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)] = 1.0

    def matches(self, job: Resource) -> bool:
        labels = job.get("labels", {})
        named = fullmatch(self.display_name, job["tunedModelDisplayName"])
        return named and all(labels.get(key) == value for key, value in self.labels.items())


TRAIN = Policy()
"""Real training, at the pace of the settings."""


def read_policies(body: Any) -> list[Policy]:
    """Parse policies for the lifecycle of tuning jobs.

    :param body: one policy or a list of them
    :raises InvalidArgument: a field is unknown, or has a wrong type or a bad regular expression
    """
    try:
        policies = msgspec.convert(body if isinstance(body, list) else [body], list[Policy])
        for policy in policies:
            check_expression("displayName", policy.display_name)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidArgument(f"Invalid lifecycle policy: {error}") from None
    return policies


def failure_of(failure: Failure) -> ApiError:
    """The error of a failing job."""
    error = ApiError(failure.message)
    error.code = failure.code
    return error
