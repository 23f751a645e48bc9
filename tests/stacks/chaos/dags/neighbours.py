"""Another team's DAGs: for each triggerer one whose trigger blocks there, and one that polls without pause."""

from __future__ import annotations

from airflow.sdk import DAG

from tests.stacks.chaos.chaos_stack import TRIGGERERS
from tests.stacks.chaos.neighbours import BlockEventLoop, WaitInAHurry
from tests.stacks.chaos.plan import BLOCK, HURRY

for triggerer in TRIGGERERS:
    with DAG(f"{BLOCK}_{triggerer}", schedule=None, params={"flag": ""}):
        BlockEventLoop(task_id="neighbour", queue=triggerer)
    with DAG(f"{HURRY}_{triggerer}", schedule=None, params={"job_name": "", "interval": 60.0}):
        WaitInAHurry(task_id="neighbour", queue=triggerer)
