"""What can be set when the emulator is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """
    :param data_dir: where everything is kept
    :param queue_seconds: how long a new job stays PENDING
    :param experiment_seconds: from RUNNING to the job's experiment appearing
    :param step_seconds: least time per training step
    :param cancel_seconds: how long a cancelled job stays CANCELLING
    :param concurrent_tuning_jobs: the quota `global_concurrent_tuning_jobs`, per project over all regions
    :param quota_mode: whether a job over that quota waits, or is refused with 429
    :param control: whether `/_internal` obeys
    :param allowed_hosts: names and addresses clients may call it by, besides those of loopback
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
