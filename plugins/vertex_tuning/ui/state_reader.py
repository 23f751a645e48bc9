"""Put together what was read about tunings, from the caches and from Airflow's database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from airflow.sdk import conf
from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool

from vertex_tuning.history.run_history import History
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import SeriesColumns
from vertex_tuning.registry.aliases import ModelVersion
from vertex_tuning.ui.airflow_runs import DagState, dag_states
from vertex_tuning.ui.background_cache import BackgroundCache, CachedValue, ValueSource
from vertex_tuning.ui.google_reads import (
    Addresses,
    read_addresses,
    read_jobs,
    read_live_curves,
    read_loss_curves,
    read_models,
    read_runs,
    read_summary,
    read_versions,
)
from vertex_tuning.ui.tuning_files import TuningFile, read_tuning_files, tuning_files_stamp
from vertex_tuning.ui.tuning_state import TuningState, history_stamp

Curves = dict[str, SeriesColumns]

FIRST: Final = 4.0
"""Most seconds to wait for what was never read."""
LIVE_FIRST: Final = 3.0
"""Most seconds to wait for the first curve of a running job: the import of Google's client takes longer."""
AGAIN: Final = 0.4
"""Most seconds to wait for what is only old: the page then shows the old state."""
FILES_KEEP: Final = 600.0
"""A changed file is read at once; a changed variable only after this time."""
JOBS_KEEP: Final = 5.0
MODELS_KEEP: Final = 10.0
ADDRESSES_KEEP: Final = 300.0
HISTORY_KEEP: Final = 300.0
"""A history only changes when a run ends, and is then read at once."""
CURVES_KEEP: Final = 3600.0
"""The curves of a run that has ended do not change."""
OVERVIEW_SIZE: Final = 5000
MODELS_SHOWN: Final = 50
"""Models whose versions are listed: the newest."""
DETAILS_SIZE: Final = 40
"""Whole histories and curves that are kept: up to 2 MB each."""
UNKNOWN: Final[CachedValue[Any]] = CachedValue()


class StateReader:
    """Reads the state of tunings. The caller has checked which of them may be shown."""

    def __init__(self) -> None:
        self._files = BackgroundCache(1)  # a Google that does not answer holds up no file
        self._overview = BackgroundCache(OVERVIEW_SIZE)
        self._details = BackgroundCache(DETAILS_SIZE)

    async def files(self, dag_ids: Collection[str]) -> dict[str, TuningFile]:
        """The files of the tunings whose DAGs are among some, by these DAGs.

        :raises HTTPException: they are not read yet
        """
        source = ValueSource(read_tuning_files, FILES_KEEP, await run_in_threadpool(tuning_files_stamp))
        read = await self._files.read({"files": source}, first=FIRST, again=AGAIN)
        found = read["files"].value
        if found is None:
            reason = read["files"].error or "Reload the page in a moment."
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"The tuning files are not read yet. {reason}")
        return {dag_id: file for dag_id, file in sorted(found.items()) if dag_id in dag_ids}

    async def states(self, files: Mapping[str, TuningFile], readable: Collection[str]) -> list[TuningState]:
        """The states of tunings.

        :param files: of the tunings that may be shown
        :param readable: ids of the DAGs that may be shown
        """
        dags = await run_in_threadpool(dag_states, _dag_ids(files.values()) & set(readable))
        sources = _sources(files.values(), dags)
        found = await self._overview.read(sources, first=FIRST, again=AGAIN)
        is_live = live_jobs()

        def state(file: TuningFile) -> TuningState:
            addresses = found.get(("addresses", file.location), UNKNOWN)
            return TuningState(
                file=file,
                dag=dags.get(file.dag_id),
                rollback=dags.get(file.rollback_dag_id),
                history=found.get(("history", file.name), UNKNOWN),
                jobs=found.get(("jobs", file.location), UNKNOWN) if is_live else None,
                models=found.get(("models", file.location), UNKNOWN) if is_live else None,
                addresses=addresses.value or Addresses(),
                now=datetime.now(UTC),
            )

        return [state(file) for file in files.values()]

    async def runs(self, state: TuningState) -> CachedValue[History]:
        """The whole history of a tuning."""
        file = state.file
        if not file.bucket:
            return CachedValue()
        load = partial(read_runs, file.location, file.bucket, file.name)
        source = ValueSource(load, HISTORY_KEEP, state.stamp)
        return (await self._details.read({("runs", file.name): source}, first=FIRST, again=AGAIN))["runs", file.name]

    async def versions(self, state: TuningState) -> CachedValue[list[ModelVersion]] | None:
        """All versions of the models of a tuning; None if the page may not read them."""
        if state.models is None:
            return None
        newest = sorted(state.own_models, key=lambda version: version.age_rank, reverse=True)
        models = list(dict.fromkeys(version.model for version in newest))[:MODELS_SHOWN]
        load = partial(read_versions, state.file.location, models)
        key = ("versions", state.file.name)
        source = ValueSource(load, MODELS_KEEP, ",".join(models))
        return (await self._details.read({key: source}, first=FIRST, again=AGAIN))[key]

    async def curves(self, state: TuningState, uris: Iterable[str]) -> dict[str, CachedValue[Curves]]:
        """The curves of the losses of runs, by the URIs of their files."""
        region = state.file.location
        sources = {uri: ValueSource(partial(read_loss_curves, region, uri), CURVES_KEEP) for uri in uris}
        return await self._details.read(sources, first=FIRST, again=AGAIN)

    async def live_curves(self, state: TuningState, jobs: Iterable[TuningJob]) -> dict[str, CachedValue[Curves]]:
        """The curves of the losses of running jobs, by the names of the jobs."""
        region = state.file.location
        sources = {job.name: ValueSource(partial(read_live_curves, region, job), JOBS_KEEP) for job in jobs}
        return await self._details.read(sources, first=LIVE_FIRST, again=AGAIN)


def live_jobs() -> bool:
    """Whether the page may read jobs and models from Vertex AI."""
    return conf.getboolean("vertex_tuning", "live_jobs", fallback=True)


def _dag_ids(files: Iterable[TuningFile]) -> set[str]:
    return {dag_id for file in files for dag_id in (file.dag_id, file.rollback_dag_id)}


def _sources(files: Iterable[TuningFile], dags: Mapping[str, DagState]) -> dict[tuple[str, str], ValueSource[Any]]:
    sources: dict[tuple[str, str], ValueSource[Any]] = {}
    is_live = live_jobs()
    for file in files:
        region = file.location
        if not region or not file.bucket:
            continue
        sources["addresses", region] = ValueSource(partial(read_addresses, region), ADDRESSES_KEEP)
        if is_live:
            sources["jobs", region] = ValueSource(partial(read_jobs, region), JOBS_KEEP)
            sources["models", region] = ValueSource(partial(read_models, region), MODELS_KEEP)
        load = partial(read_summary, region, file.bucket, file.name)
        stamp = history_stamp(dags.get(file.dag_id), dags.get(file.rollback_dag_id))
        sources["history", file.name] = ValueSource(load, HISTORY_KEEP, stamp)
    return sources
