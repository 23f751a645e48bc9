"""What a tuning job's metrics come to: by series, by epoch, by checkpoint, and as the values gates speak of. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

import msgspec

from vertex_tuning.jobs.job import Checkpoint, TuningJob, total_epochs, total_steps
from vertex_tuning.metrics.overfitting import Overfitting, find_overfitting
from vertex_tuning.metrics.series import COUNTS, VALIDATION_LOSS, Series, SeriesSummary, summarise

TRAINING_SERIES: Final[tuple[str, ...]] = ("/train_", "/preference_optimization_train_")
VALIDATION_SERIES: Final[tuple[str, ...]] = ("/eval_",)
VALUES_OF_SERIES: Final = ("first", "last", "best", "best_step")


class Epoch(msgspec.Struct, frozen=True):
    """One pass over the training data; counts of predictions are left out.

    :param step: its last one
    :param mean: mean of each metric over the epoch, by name
    :param last: its last value in the epoch
    """

    epoch: int
    step: int
    mean: dict[str, float]
    last: dict[str, float]


class CheckpointMetrics(msgspec.Struct, frozen=True):
    """A checkpoint and each metric at its step, by name; without counts of predictions."""

    checkpoint_id: str
    epoch: int
    step: int
    endpoint: str
    metrics: dict[str, float]


class JobMetrics(msgspec.Struct, frozen=True):
    """All of it.

    :param overfitting: None when the series do not tell
    :param best_checkpoint: the one with the lowest validation loss; None when that cannot be told
    :param values: what gates and comparisons speak of: `SERIES.first`, `.last`, `.best` and `.best_step` with the
        series' name less its slash, `overfitting` (1 or 0), `overfitting_epoch`, `billed_tokens`, `duration_seconds`,
        `queue_seconds`. What is not known is not there.
    """

    metrics: dict[str, SeriesSummary]
    epochs: list[Epoch]
    checkpoints: list[CheckpointMetrics]
    overfitting: Overfitting | None
    best_checkpoint: CheckpointMetrics | None
    values: dict[str, float]
    warnings: list[str]


def job_metrics(job: TuningJob, series: Sequence[Series]) -> JobMetrics:
    """
    :param job: one that has ended
    :param series: as `metrics.tidy` makes them; none when the job has no experiment
    """
    telling = [one for one in series if not one.name.endswith(COUNTS)]
    summary, ends, checkpoints = summarise(series), _epoch_ends(job, series), _checkpoints(job, telling)
    overfitting, best = _overfitting(series, ends), _best(checkpoints)
    return JobMetrics(
        metrics=summary,
        epochs=_epochs(ends, telling),
        checkpoints=checkpoints,
        overfitting=overfitting,
        best_checkpoint=best,
        values=_values(job, summary, overfitting),
        warnings=[*_not_finite(summary), *_overfitted(overfitting, best)],
    )


def missing(job: TuningJob, series: Iterable[Series]) -> list[str]:
    """What the series of a job that has ended still lack, in words; nothing when they are complete.

    Complete means: each training series goes up to the last step the job says it has done, and the same holds for each
    validation series when there is a validation set. A series that skips steps has to go as far as its smallest stride
    allows, one that counts from 0 to one step less. What the job does not say cannot lack: then a point will do.
    """
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    kinds = [("training", TRAINING_SERIES)]
    if method and method.validation_dataset_uri:
        kinds.append(("validation", VALIDATION_SERIES))
    found = list(series)
    return [gap for kind, prefixes in kinds for gap in _gaps(kind, prefixes, found, _done_steps(job))]


def _gaps(kind: str, prefixes: tuple[str, ...], series: list[Series], steps: int | None) -> Iterator[str]:
    of_kind = [one for one in series if one.name.startswith(prefixes) and one.points]
    if not of_kind:
        yield f"no {kind} metrics"
    for one in of_kind:
        first, last = one.points[0].step, one.points[-1].step
        stride = min((b.step - a.step for a, b in pairwise(one.points)), default=max(last, 1))
        final = (steps or 0) - (first == 0)
        if last + stride <= final:
            yield f"{one.name} ends at step {last} of {steps}"


def _done_steps(job: TuningJob) -> int | None:
    done = job.tuning_job_metadata and job.tuning_job_metadata.completed_step_count
    return done or total_steps(job)


def _epoch_ends(job: TuningJob, series: Sequence[Series]) -> list[int]:
    """Last step of each epoch; nothing when the job does not say how many there are.

    `tuningStepCount` is the number of steps of the whole job (discovery document), so an epoch has an equal share.
    """
    last = max((one.points[-1].step for one in series if one.points), default=0)
    epochs, steps = total_epochs(job) or 0, total_steps(job) or _done_steps(job) or last
    return [steps * (epoch + 1) // epochs for epoch in range(epochs)] if steps else []


def _overfitting(series: Sequence[Series], ends: Sequence[int]) -> Overfitting | None:
    found = find_overfitting(series)
    if found is None or found.step is None or not ends:
        return found
    return msgspec.structs.replace(found, epoch=min(bisect_left(ends, found.step) + 1, len(ends)))


def _epochs(ends: Sequence[int], series: Sequence[Series]) -> list[Epoch]:
    return [
        Epoch(
            epoch=number,
            step=end,
            mean=_known((one.name, one.mean(end, after=start)) for one in series),
            last=_known((one.name, one.at(end, after=start)) for one in series),
        )
        for number, (start, end) in enumerate(pairwise([-1, *ends]), start=1)
    ]


def _checkpoints(job: TuningJob, series: Sequence[Series]) -> list[CheckpointMetrics]:
    saved = sorted(job.tuned_model.checkpoints if job.tuned_model else [], key=lambda one: one.step)
    return [_checkpoint(one, before.step, series) for before, one in pairwise([Checkpoint(step=-1), *saved])]


def _checkpoint(checkpoint: Checkpoint, after: int, series: Sequence[Series]) -> CheckpointMetrics:
    metrics = _known((one.name, one.at(checkpoint.step, after=after)) for one in series)
    return CheckpointMetrics(
        checkpoint.checkpoint_id, checkpoint.epoch, checkpoint.step, checkpoint.endpoint, metrics=metrics
    )


def _best(checkpoints: Iterable[CheckpointMetrics]) -> CheckpointMetrics | None:
    validated = [one for one in checkpoints if VALIDATION_LOSS in one.metrics]
    return min(validated, key=lambda one: one.metrics[VALIDATION_LOSS], default=None)


def _values(job: TuningJob, summary: dict[str, SeriesSummary], overfitting: Overfitting | None) -> dict[str, float]:
    of_series = (
        (f"{name.removeprefix('/')}.{field}", getattr(values, field))
        for name, values in summary.items()
        for field in VALUES_OF_SERIES
    )
    of_job: dict[str, float | None] = {
        "overfitting": float(overfitting.found) if overfitting else None,
        "overfitting_epoch": overfitting.epoch if overfitting else None,
        "billed_tokens": _billed_tokens(job),
        "duration_seconds": _seconds(job.start_time, job.end_time),
        "queue_seconds": _seconds(job.create_time, job.start_time),
    }
    return _known([*of_series, *of_job.items()])


def _billed_tokens(job: TuningJob) -> int | None:
    """The dataset's billable tokens times the epochs: how the service's guide says tuning is billed."""
    stats = job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    tokens, epochs = stats and stats.total_billable_token_count, total_epochs(job)
    return tokens * epochs if tokens and epochs else None


def _seconds(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _known(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {name: float(value) for name, value in values if value is not None}


def _not_finite(summary: dict[str, SeriesSummary]) -> list[str]:
    return [
        f"{name}: {values.not_finite} of {values.points} values are no finite numbers."
        for name, values in summary.items()
        if values.not_finite
    ]


def _overfitted(overfitting: Overfitting | None, best: CheckpointMetrics | None) -> list[str]:
    if not overfitting or not overfitting.found:
        return []
    advice = f" Checkpoint {best.checkpoint_id} (epoch {best.epoch}) has the lowest validation loss." if best else ""
    return [f"The model is {overfitting}.{advice} Fewer epochs or more data can help."]
