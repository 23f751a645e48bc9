"""The stack under attack: two triggerers, and thresholds of seconds, so that Airflow notices soon what has stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from include.local.stack import PROJECT_DIR, Stack

TRIGGERERS: Final = ("triggerer-1", "triggerer-2")

_DAG_FOLDERS: Final = {"project": PROJECT_DIR / "dags", "chaos": Path(__file__).parent / "dags"}

SETTINGS: Final = {
    "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
        [
            {
                "name": name,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(path)},
            }
            for name, path in _DAG_FOLDERS.items()
        ]
    ),
    "CORE__HOSTNAME_CALLABLE": "tests.stacks.chaos.host.name",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "3",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "TRIGGERER__QUEUES_ENABLED": "True",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    "TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD": "4",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "VERTEX_TUNING__RETRY_DELAY": "2",
}
"""Airflow's configuration."""


@dataclass(frozen=True)
class ChaosStack(Stack):
    """Airflow with two triggerers. Both run every trigger of the default queue; each has a queue of its own as well,
    by which a neighbour gets into the one it has to disturb.
    """

    def _commands(self) -> dict[str, list[str]]:
        commands = super()._commands()
        triggerer = commands.pop("triggerer")
        return {**commands, **{name: [*triggerer, "--queues", f"default,{name}"] for name in TRIGGERERS}}
