"""The Google provider's nearest trigger. Apart from the others, because its imports alone take ten seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

from airflow.providers.google.cloud.triggers.vertex_ai import CreateHyperparameterTuningJobTrigger
from airflow.triggers.base import BaseTrigger

from tests.stacks.bench_triggerer.contestants import LOCATION, PROJECT, Contestant
from tests.stacks.bench_triggerer.stand_in import JobService


class Hyperparameter(Contestant):
    """The Google provider's trigger and our stand-in for the API it calls.

    :param environment: the Google settings that make the provider call the stand-in
    """

    title = "CreateHyperparameterTuningJobTrigger"
    waits_for_jobs = True

    def __init__(self, service: JobService, environment: Mapping[str, str], conn_id: str, interval: int) -> None:
        self.service = service
        self.environment = environment
        self.conn_id = conn_id
        self.interval = interval
        self.count = 0

    def triggers(self, count: int) -> list[BaseTrigger]:
        self.count = count
        return [
            CreateHyperparameterTuningJobTrigger(self.conn_id, PROJECT, LOCATION, str(index), self.interval)
            for index in range(count)
        ]

    def calls(self) -> int:
        return self.service.calls

    def has_begun(self) -> bool:
        return self.service.calls >= self.count

    def end(self, seconds: float) -> None:
        now = time.time()
        self.service.ends = {str(index): now + seconds * index / self.count for index in range(self.count)}
        time.sleep(seconds)

    def ends(self) -> list[float]:
        return list(self.service.ends.values())
