"""Airflow's REST API, as far as the chaos needs more of it than the demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from include.local.airflow_api import ENDED, AirflowApi
from tests.stacks.chaos.metadata import DagRun

CREATE: Final = "create_tuning_job"
WAIT: Final = "wait_for_tuning_job"


class ChaosApi(AirflowApi):
    """The REST API of the stack under attack; calls fail while its server or database stands still."""

    def start(self, dag_id: str, conf: dict[str, Any]) -> DagRun:
        return DagRun(dag_id, self.trigger(dag_id, conf))

    def fail(self, run: DagRun) -> None:
        """Mark a run as failed, as a person would."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}"
        self._client.patch(path, json={"state": "failed"}).raise_for_status()

    def instances(self, run: DagRun) -> list[dict[str, Any]]:
        """All task instances of a run; those of a mapped task one by one."""
        instances: list[dict[str, Any]] = self._get(f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances")[
            "task_instances"
        ]
        return instances

    def job_names(self, run: DagRun, task_id: str) -> frozenset[str]:
        """Names of the tuning jobs that the instances of a task have returned."""
        results = [self._result(instance) for instance in self.instances(run) if _name(instance) == task_id]
        return frozenset(result["name"] for result in results if result)

    def has_begun_to_wait(self, run: DagRun) -> bool:
        """Whether every task of a run is with a triggerer, or got beyond that."""
        return all(instance["state"] in ("deferred", *ENDED) for instance in self.instances(run))

    def _result(self, instance: dict[str, Any]) -> Any:
        run, index = f"/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}", instance["map_index"]
        path = f"{run}/taskInstances/{instance['task_id']}/xcomEntries/return_value"
        answer = self._client.get(path, params={"map_index": index})
        return answer.json()["value"] if answer.is_success else None

    def failed_logs(self, run: DagRun, logs: Path) -> Iterator[Path]:
        """The log of the last attempt of each failed task instance."""
        for instance in self.instances(run):
            if instance["state"] == "failed":
                folder = logs / f"dag_id={run.dag_id}" / f"run_id={run.run_id}" / f"task_id={instance['task_id']}"
                index = f"map_index={instance['map_index']}" if instance["map_index"] >= 0 else ""
                yield folder / index / f"attempt={instance['try_number']}.log"


def _name(instance: dict[str, Any]) -> str:
    """The id of a task without its task group."""
    return str(instance["task_id"]).rpartition(".")[2]
