"""When the DAG of a tuning runs, as Airflow's timetables. This module knows how versions of Airflow differ in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.results import Role

if TYPE_CHECKING:
    from airflow.sdk import DAG, Context

    from vertex_tuning.config.tuning import Tuning

RUNS_SEARCHED: Final = 100
"""Earlier runs among which the last evaluated model is looked for."""


def dataset_asset(tuning: Tuning) -> Asset:
    """The asset `NAME_dataset`, with the watcher of its subscription if the tuning names one."""
    name = f"{tuning.name}_dataset"
    if not (tuning.schedule and (watch := tuning.schedule.watch)):
        return Asset(name)
    # Imported here: the triggers' base takes a while to load, and most tunings watch nothing.
    from vertex_tuning.new_data import NewDataTrigger

    watcher = AssetWatcher(name=f"{tuning.name}_subscription", trigger=NewDataTrigger(subscription=watch.subscription))
    return Asset(name, watchers=[watcher])


def schedule_of(tuning: Tuning) -> AssetOrTimeSchedule | list[Asset]:
    """The fixed times of the file, and each update of the dataset's asset."""
    asset, schedule = dataset_asset(tuning), tuning.schedule
    if schedule is None or schedule.cron is None:
        return [asset]
    # No start date, and no run for a time in the past: switching a DAG on must not start a job.
    cron = CronTriggerTimetable(schedule.cron, timezone=schedule.timezone, run_immediately=timedelta(0))
    if not schedule.only_with_new_data:
        return AssetOrTimeSchedule(timetable=cron, assets=[asset])
    # Airflow runs the watchers of scheduled assets only. A second asset, which nothing updates, keeps events from
    # starting runs. (Airflow 3.4 has AssetAndTimeSchedule, which starts a run late when data comes late.)
    return AssetOrTimeSchedule(timetable=cron, assets=asset & Asset(f"{tuning.name}_waits_for_its_schedule"))


def batch_events(dag: DAG) -> None:
    """Have events that wait together start one run: the default of Airflow 3.3, an option from 3.4 on."""
    if hasattr(dag.timetable, "batch_asset_events"):
        dag.timetable.batch_asset_events = True


def skip_without_new_data(asset: Asset) -> Callable[[Context], None]:
    """A `pre_execute` that skips a scheduled run if its data is not new. The task must have the asset as an inlet.

    Data is new if an event of the asset came after the data of the last evaluated model was read. So a run that failed
    before, or that a budget stopped, is made up for at the next fixed time.
    """

    def check(context: Context) -> None:
        """Look for new data.

        :raises AirflowSkipException: there is no new data
        """
        if context["dag_run"].run_type != "scheduled" or not (since := _last_read(context["ti"])):
            return
        if len(context["inlet_events"][asset].after(since).limit(1)) == 0:
            raise AirflowSkipException(
                f"Found no event of the asset {asset.name} since {since}, when the last evaluated model's data was "
                "read. To train all the same, start a run by hand."
            )

    return check


def _last_read(ti: Any) -> str:
    """When the last run whose model was evaluated began to read its data, ISO 8601; empty if no run did."""
    before = None
    for _ in range(RUNS_SEARCHED):
        first = ti.get_previous_ti(state="success", logical_date=before)
        if first is None:
            return ""
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[first.run_id], task_ids=[Role.EVALUATION.task_id])
        if states.get(first.run_id, {}).get(Role.EVALUATION.task_id) == "success":
            return str(first.start_date.isoformat())
        before = first.logical_date
    return ""
