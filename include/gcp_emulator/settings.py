"""Options of the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """Settings of the emulator.

    :param data_dir: folder for all data
    :param queue_seconds: how long a new job stays PENDING
    :param experiment_seconds: time from RUNNING to the appearance of the job's experiment
    :param step_seconds: smallest time per training step
    :param cancel_seconds: how long a cancelled job stays CANCELLING
    :param concurrent_tuning_jobs: the quota `global_concurrent_tuning_jobs`, per project over all regions
    :param quota_mode: whether a job over that quota waits, or is refused with 429
    :param control: whether `/_internal` is open to all clients
    :param allowed_hosts: names and addresses that clients may use, besides those of loopback
    """

    data_dir: Path
    queue_seconds: float = 0.2
    experiment_seconds: float = 0.1
    step_seconds: float = 0.0
    cancel_seconds: float = 0.1
    concurrent_tuning_jobs: int = 1
    quota_mode: Literal["queue", "refuse"] = "queue"
    control: bool = True
    allowed_hosts: tuple[str, ...] = ()
