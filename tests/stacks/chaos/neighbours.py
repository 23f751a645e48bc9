"""Tasks of somebody else's DAG that misbehave in the triggerer they share with a pipeline."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.context import Context
from airflow.triggers.base import BaseTrigger, TriggerEvent
from vertex_tuning.sensors import TuningJobSensor

MOST_SECONDS: Final = 90
"""A blocking neighbour stops by itself after this time, whatever becomes of the harness."""


class BlockingTrigger(BaseTrigger):
    """Blocks the event loop, and with it all other triggers of its process, as long as a file exists.

    :param flag: path of the file
    """

    def __init__(self, *, flag: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flag = flag

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {"flag": self.flag}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        end = time.monotonic() + MOST_SECONDS
        while Path(self.flag).exists() and time.monotonic() < end:  # noqa: ASYNC240 - blocking is what it is for
            time.sleep(0.1)  # noqa: ASYNC251
        yield TriggerEvent("done")


class BlockEventLoop(BaseOperator):
    """Defers to a trigger that blocks; `flag` of the run's configuration is the file's path."""

    def execute(self, context: Context) -> None:
        self.defer(trigger=BlockingTrigger(flag=context["params"]["flag"]), method_name="finish")

    def finish(self, context: Context, event: Any = None) -> None:
        """The neighbour has had enough."""


class WaitInAHurry(BaseOperator):
    """Waits for a job as a sensor does, but with an interval nobody would set: both come from the run's configuration.

    The sensor is made at run time, so that one that refuses the interval fails this task and not the DAG file.
    """

    def execute(self, context: Context) -> None:
        TuningJobSensor(
            task_id="sensor",
            job_name=context["params"]["job_name"],
            poke_interval=context["params"]["interval"],
            cancel_on_kill=False,
            cancel_on_timeout=False,
        ).execute(context)

    def execute_complete(self, context: Context, event: Any = None, **_: Any) -> None:
        """The job's end is not this task's business."""
