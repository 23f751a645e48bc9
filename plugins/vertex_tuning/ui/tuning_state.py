"""All that was read about one tuning, before it is decided what is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.registry.aliases import ModelVersion, champion_of, doubt
from vertex_tuning.ui.airflow_runs import ActiveRun, DagState
from vertex_tuning.ui.background_cache import CachedValue
from vertex_tuning.ui.google_reads import Addresses, HistorySummary, TuningJobs
from vertex_tuning.ui.tuning_files import TuningFile


class ModelInUse(msgspec.Struct, frozen=True):
    """The model in use.

    :param name: `projects/…/models/ID@VERSION`
    :param version: `ID@VERSION`
    :param since: RFC 3339; empty if it is not known
    :param note: why this may be wrong; empty if the Model Registry says it
    """

    name: str
    version: str
    since: str
    note: str = ""


class TuningState(msgspec.Struct, frozen=True, kw_only=True):
    """The known facts about a tuning.

    :param dag: state of its DAG; None if Airflow does not have it
    :param rollback: state of its rollback DAG; None if it may not be shown
    :param jobs, models: None if the page may not read them (`live_jobs`)
    """

    file: TuningFile
    dag: DagState | None
    rollback: DagState | None
    history: CachedValue[HistorySummary]
    jobs: CachedValue[dict[str, TuningJobs]] | None
    models: CachedValue[dict[str, list[ModelVersion]]] | None
    addresses: Addresses
    now: datetime

    @property
    def stamp(self) -> str:
        """Changes when a run of the tuning ends, and with it the history."""
        return history_stamp(self.dag, self.rollback)

    @property
    def active(self) -> list[ActiveRun]:
        """Runs that have not ended."""
        return [run for dag in (self.dag, self.rollback) if dag for run in dag.active]

    @property
    def summary(self) -> HistorySummary:
        return self.history.value or HistorySummary()

    @property
    def own_jobs(self) -> TuningJobs | None:
        """Jobs of this tuning; None if it has none, or if they are not known."""
        return (self.jobs.value or {}).get(self.file.name) if self.jobs else None

    @property
    def own_models(self) -> list[ModelVersion]:
        return (self.models.value or {}).get(self.file.name, []) if self.models else []

    def model_in_use(self) -> ModelInUse | None:
        """The model with the alias, or else the one that the last promotion put into use."""
        champion = champion_of(self.own_models, self.file.champion_alias)
        recorded = self.summary.promoted
        if champion is None:
            return _recorded(recorded, self.models) if recorded else None
        since = (champion.updated or champion.created).isoformat(timespec="seconds")
        if recorded and recorded.model == champion.name:
            since = recorded.ended
        note = doubt(self.own_models, self.file.champion_alias)
        return ModelInUse(champion.name, champion.name.rpartition("/")[2], since, note)

    def notices(self) -> list[str]:
        """What of the state is old or missing, and why."""
        parts = [("The history", self.history), ("Jobs and costs", self.jobs), ("Models", self.models)]
        found = [_notice(name, reading) for name, reading in parts if reading is not None]
        return [text for text in (self.file.problem, *found, *self.summary.left_out[:3]) if text]


def history_stamp(*dags: DagState | None) -> str:
    """Changes when a run of one of the DAGs ends."""
    return " ".join(str(dag.last_end) for dag in dags if dag)


def _recorded(record: RunRecord, models: CachedValue[dict[str, list[ModelVersion]]] | None) -> ModelInUse:
    is_known = models is not None and models.value is not None
    note = "By the history. The Model Registry lists no model with the alias." if is_known else "By the history."
    return ModelInUse(record.model, record.model_version, record.ended, note)


def _notice(name: str, reading: CachedValue[Any]) -> str:
    if reading.value is None:
        if reading.error:
            return f"{name}: could not be read. {reading.error}"
        return f"{name}: being read. Reload the page in a moment." if reading.is_pending else ""
    if reading.error:
        return f"{name}: state of {age_text(reading.age)} ago. {reading.error}"
    return f"{name}: state of {age_text(reading.age)} ago; being read again." if reading.is_late else ""


def age_text(seconds: float) -> str:
    """An age in words, in one unit: `3 days`, `1 hour`, `40 seconds`."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if (count := int(seconds // length)) or unit == "second":
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return ""
