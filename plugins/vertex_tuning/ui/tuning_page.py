"""The content of the page of a tuning. Its JSON has exactly the fields of `TuningPage`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from vertex_tuning.history.run_history import History
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.metrics.series import SeriesColumns
from vertex_tuning.registry.aliases import ModelVersion
from vertex_tuning.report.charts import Chart, Line, thin
from vertex_tuning.report.names import is_share, series_kind
from vertex_tuning.report.rule_text import signed_number
from vertex_tuning.resources.resource_urls import experiment_url, job_url, model_url
from vertex_tuning.ui.background_cache import CachedValue
from vertex_tuning.ui.cards import Card, RunFacts, is_in_bucket, run_facts
from vertex_tuning.ui.tuning_state import TuningState

RUNS_FIRST: Final = 50
"""Runs that are shown at first; a link shows all."""
CURVES_SHOWN: Final = 5
"""Most runs whose curves are in one chart."""
CURVES_FIRST: Final = 3
"""Runs whose curves are shown before others are chosen."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run in the table.

    :param gain: gain over the model in use with its bounds, in words
    :param seconds: duration of the run
    :param has_curves: whether its curves can be shown
    """

    key: str
    run: RunFacts
    gain: str
    training_loss: float | None
    validation_loss: float | None
    overfitting: bool | None
    cost: float | None
    currency: str
    is_estimate: bool
    seconds: float | None
    candidates: int
    warnings: list[str]
    job_url: str
    experiment_url: str
    model_url: str
    has_curves: bool


class VersionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a model in the Model Registry."""

    name: str
    version: str
    created: str
    aliases: list[str]
    url: str


class TuningPage(msgspec.Struct, frozen=True, kw_only=True):
    """The page of a tuning.

    :param runs: the last runs, newest first
    :param run_count: number of all runs
    :param versions: newest first; None if they are not read
    """

    card: Card
    runs: list[RunRow]
    run_count: int
    versions: list[VersionFacts] | None


def known_runs(history: CachedValue[History], state: TuningState) -> list[RunRecord]:
    """All runs, newest first; the few that the overview knows while the whole history cannot be read."""
    return history.value.records if history.value else state.summary.recent


def partial_history(history: CachedValue[History], state: TuningState) -> Iterator[str]:
    """Why not all runs are shown; nothing if they are."""
    if history.value is None and state.summary.recent:
        reason = history.error or "It is being read. Reload the page in a moment."
        yield f"Only the last {len(state.summary.recent)} runs are shown, not the whole history. {reason}"


def curve_problem(reading: CachedValue[dict[str, SeriesColumns]]) -> str:
    """Why curves are missing; empty if they are there."""
    if reading.value is None and reading.is_pending:
        return "Curves: being read. Reload the page in a moment."
    return reading.error


def run_rows(records: Iterable[RunRecord], state: TuningState) -> list[RunRow]:
    """Rows of the table of runs."""
    return [_row(record, state) for record in records]


def _row(record: RunRecord, state: TuningState) -> RunRow:
    local = state.addresses.vertex
    return RunRow(
        key=record.key,
        run=run_facts(record, state.file, state.addresses),
        gain=_gain(record),
        training_loss=record.training_loss,
        validation_loss=record.validation_loss,
        overfitting=record.overfitting,
        cost=record.cost,
        currency=record.currency,
        is_estimate=record.is_estimate,
        seconds=record.seconds,
        candidates=record.candidates,
        warnings=record.warnings,
        job_url=job_url(record.job, local) if _is_resource(record.job, "tuningJobs") else "",
        experiment_url=experiment_url(record.experiment, local) if _is_resource(record.experiment, "contexts") else "",
        model_url=model_url(record.model, local) if _is_resource(record.model, "models") else "",
        has_curves=is_in_bucket(record.metrics_uri, state.file),
    )


def _is_resource(name: str, kind: str) -> bool:
    return name.startswith("projects/") and f"/{kind}/" in name


def _gain(record: RunRecord) -> str:
    gain = record.gain
    if gain is None:
        return ""
    observed, lower, upper = (signed_number(record.value, number) for number in (gain.observed, gain.lower, gain.upper))
    return f"{observed} ({lower} to {upper}){' points' if is_share(record.value) else ''}"


def version_facts(versions: Iterable[ModelVersion], state: TuningState) -> list[VersionFacts]:
    """Versions with their aliases, newest first."""
    return [
        VersionFacts(
            name=version.name,
            version=version.name.rpartition("/")[2],
            created=version.created.isoformat(timespec="seconds"),
            aliases=sorted(version.aliases),
            url=model_url(version.name, state.addresses.vertex),
        )
        for version in sorted(versions, key=lambda version: version.age_rank, reverse=True)
    ]


def chosen_runs(records: Sequence[RunRecord], keys: Collection[str], state: TuningState) -> list[RunRecord]:
    """The runs whose curves are shown: those that were chosen, or else the last ones.

    :param keys: keys of the chosen runs; unknown ones are left out
    """
    usable = [record for record in records if is_in_bucket(record.metrics_uri, state.file)]
    chosen = [record for record in usable if record.key in keys]
    return chosen[:CURVES_SHOWN] if chosen else usable[:CURVES_FIRST]


def loss_charts(curves: Mapping[str, Mapping[str, SeriesColumns]]) -> list[Chart]:
    """A chart of the training losses and one of the validation losses of several runs.

    :param curves: the curves of each run, by its label
    """
    charts = []
    for kind in ("training", "validation"):
        lines = {
            label: points
            for label, series in curves.items()
            for name, columns in sorted(series.items())
            if series_kind(name) == kind and (points := _points(columns))
        }
        if lines:
            charts.append(_chart(f"{kind.capitalize()} loss", lines, list(curves)))
    return charts


def _points(columns: SeriesColumns) -> dict[int, float]:
    pairs = zip(columns.step, columns.value, strict=False)
    return dict(thin([(step, value) for step, value in pairs if value is not None]))


def _chart(title: str, lines: Mapping[str, Mapping[int, float]], labels: Sequence[str]) -> Chart:
    steps = sorted(set[int]().union(*lines.values()))
    return Chart(
        title=title,
        unit="",
        steps=steps,
        lines=[
            Line(label, f"run-{labels.index(label) + 1}", [points.get(step) for step in steps], len(points))
            for label, points in lines.items()
        ],
        marks=[],
        overfitting_step=None,
    )
