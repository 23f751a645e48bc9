"""The truth about tuning jobs, from the emulator itself, and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
import msgspec

ENDED: Final = frozenset(
    f"JOB_STATE_{state}" for state in ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")
)


class Job(msgspec.Struct, frozen=True):
    """A tuning job as it really is.

    :param identity: the label by which all attempts of one task instance find it
    :param epochs: passes over the data that it completed
    """

    name: str
    identity: str
    state: str
    epochs: int

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def has_trained(self) -> bool:
        """Whether it has used machines for something; one that failed is no reproach, a new attempt is right then."""
        return self.epochs >= 1 and self.state != "JOB_STATE_FAILED"

    @property
    def has_succeeded(self) -> bool:
        return self.state == "JOB_STATE_SUCCEEDED"

    @property
    def was_cancelled(self) -> bool:
        return self.state in ("JOB_STATE_CANCELLING", "JOB_STATE_CANCELLED")


class Cloud:
    """The control API of one emulator.

    :param url: its base URL
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/_internal", timeout=30)

    def close(self) -> None:
        self._client.close()

    def is_up(self) -> bool:
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def jobs(self) -> list[Job]:
        """Every tuning job there ever was."""
        return [_job(resource) for resource in self._get("/state").get("tuningJobs", {}).values()]

    def calls(self, method: str) -> list[dict[str, Any]]:
        """The requests of one API method since `forget_calls`."""
        requests: list[dict[str, Any]] = self._get(f"/requests?method={method}")["requests"]
        return requests

    def faults_have_struck(self) -> bool:
        return any(request["fault"] for request in self._get("/requests")["requests"])

    def forget_calls(self) -> None:
        self._client.delete("/requests").raise_for_status()

    def set_faults(self, faults: list[dict[str, Any]]) -> None:
        self._client.post("/faults", json=faults).raise_for_status()

    def clear_faults(self) -> None:
        self._client.delete("/faults").raise_for_status()

    @contextmanager
    def held_jobs(self) -> Iterator[None]:
        """Have every job that is created during a block wait for `advance` before each change of state."""
        self._client.post("/lifecycle", json={"manual": True}).raise_for_status()
        try:
            yield
        finally:
            self._client.delete("/lifecycle").raise_for_status()

    def advance(self) -> None:
        """Let every held job make its next change of state: to running, to training, and when trained to its end."""
        for job in self.jobs():
            if not job.has_ended:
                # Refused when the job is not held, or has nothing to do but train.
                self._client.post(f"/tuningJobs/{job.name.rpartition('/')[2]}:advance")

    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()


def _job(resource: dict[str, Any]) -> Job:
    return Job(
        name=resource["name"],
        identity=resource.get("labels", {}).get("airflow-task-identity", ""),
        state=resource["state"],
        epochs=int(resource.get("tuningJobMetadata", {}).get("completedEpochCount", 0)),
    )
