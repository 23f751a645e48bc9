"""Summary of a tuning job's metrics by series, epoch and checkpoint, and the values that gates use. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal

import msgspec

from vertex_tuning.jobs.job import Checkpoint, TuningJob, billed_tokens, total_epochs, total_steps
from vertex_tuning.metrics.overfitting import Overfitting, find_overfitting
from vertex_tuning.metrics.series import COUNTS, VALIDATION_LOSS, Series, SeriesSummary, summarise

TRAINING_SERIES: Final[tuple[str, ...]] = ("/train_", "/preference_optimization_train_")
VALIDATION_SERIES: Final[tuple[str, ...]] = ("/eval_",)
CheckpointChoice = Literal["last", "best"]
"""`best`: the checkpoint with the lowest validation loss."""

VALUES_OF_SERIES: Final = ("first", "last", "best", "best_step")


class Epoch(msgspec.Struct, frozen=True):
    """Metrics of one pass over the training data, without counts of predictions.

    :param epoch: number of the epoch, from 1
    :param step: last training step of the epoch
    :param mean: mean of each metric over the epoch, by the name of its series
    :param last: last value of each metric in the epoch, by the name of its series
    """

    epoch: int
    step: int
    mean: dict[str, float]
    last: dict[str, float]


class CheckpointMetrics(msgspec.Struct, frozen=True):
    """Metrics at a checkpoint, without counts of predictions.

    :param checkpoint_id: the service's id of the checkpoint
    :param epoch: epoch after which the checkpoint was saved
    :param step: training step at which the checkpoint was saved
    :param endpoint: resource name of the endpoint that serves the checkpoint; empty without an endpoint
    :param metrics: last value of each metric since the checkpoint before, by the name of its series
    """

    checkpoint_id: str
    epoch: int
    step: int
    endpoint: str
    metrics: dict[str, float]


class JobMetrics(msgspec.Struct, frozen=True):
    """All metrics of a tuning job.

    :param metrics: summary of each series, by its name
    :param epochs: metrics of each epoch; empty if the job does not give its number of epochs
    :param checkpoints: metrics at each checkpoint, in the order of steps
    :param overfitting: result of the over-fitting rule; None without training or validation losses
    :param best_checkpoint: checkpoint with the lowest validation loss; None without validation losses
    :param values: values that gates and comparisons use; unknown values are left out. For each series there are
        `SERIES.first`, `.last`, `.best` and `.best_step`, without the slash at the start of its name. For the job there
        are `overfitting` (1 or 0), `overfitting_epoch`, `billed_tokens`, `duration_seconds` and `queue_seconds`. If the
        judged checkpoint is not the last one, `.last` and `overfitting` are those at this checkpoint.
    :param warnings: sentences for a person
    :param checkpoint: the checkpoint whose model is judged; None if the job does not list its checkpoints
    """

    metrics: dict[str, SeriesSummary]
    epochs: list[Epoch]
    checkpoints: list[CheckpointMetrics]
    overfitting: Overfitting | None
    best_checkpoint: CheckpointMetrics | None
    values: dict[str, float]
    warnings: list[str]
    checkpoint: CheckpointMetrics | None = None


def job_metrics(job: TuningJob, series: Sequence[Series], choice: CheckpointChoice | None = None) -> JobMetrics:
    """Summarise the metrics of a tuning job.

    :param job: a job that has ended
    :param series: series of the job, as `series.tidy` returns them; empty if the job has no experiment
    :param choice: which checkpoint is judged; if not set, the one that the job's endpoint serves
    """
    without_counts = [metric for metric in series if not metric.name.endswith(COUNTS)]
    summary, ends, checkpoints = summarise(series), _epoch_ends(job, series), _checkpoints(job, without_counts)
    overfitting, best = _overfitting(series, ends), _best(checkpoints)
    judged = _judged(choice, job, checkpoints, best)
    earlier = judged if checkpoints and judged != checkpoints[-1] else None
    return JobMetrics(
        metrics=summary,
        epochs=_epochs(ends, without_counts),
        checkpoints=checkpoints,
        overfitting=overfitting,
        best_checkpoint=best,
        checkpoint=judged,
        values=_values(job, summary, overfitting) | _values_at(earlier, overfitting),
        warnings=[*_not_finite(summary), *_overfitted(overfitting, best, earlier)],
    )


def missing(job: TuningJob, series: Iterable[Series]) -> list[str]:
    """Describe the metrics that the service has not written yet; empty when the series are complete.

    A series is complete when it reaches the last step that the job has done. A series that skips steps must come as
    close as its smallest step width allows. A series that counts from 0 ends one step earlier. If the job does not give
    its steps, one point is enough. Validation series are required only with a validation dataset.

    :param job: a job that has ended
    :param series: series of the job, as `series.tidy` returns them
    """
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    kinds = [("training", TRAINING_SERIES)]
    if method and method.validation_dataset_uri:
        kinds.append(("validation", VALIDATION_SERIES))
    listed = list(series)
    return [gap for kind, prefixes in kinds for gap in _gaps(kind, prefixes, listed, _done_steps(job))]


def _gaps(kind: str, prefixes: tuple[str, ...], series: list[Series], steps: int | None) -> Iterator[str]:
    of_kind = [metric for metric in series if metric.name.startswith(prefixes) and metric.points]
    if not of_kind:
        yield f"no {kind} metrics"
    for metric in of_kind:
        first, last = metric.points[0].step, metric.points[-1].step
        stride = min((b.step - a.step for a, b in pairwise(metric.points)), default=max(last, 1))
        final = (steps or 0) - (first == 0)
        if last + stride <= final:
            yield f"{metric.name} ends at step {last} of {steps}"


def _done_steps(job: TuningJob) -> int | None:
    done = job.tuning_job_metadata and job.tuning_job_metadata.completed_step_count
    return done or total_steps(job)


def _epoch_ends(job: TuningJob, series: Sequence[Series]) -> list[int]:
    """Last step of each epoch; empty if the job does not give its number of epochs.

    `tuningStepCount` is the number of steps of the whole job (discovery document). All epochs have equal shares of it.
    """
    last = max((metric.points[-1].step for metric in series if metric.points), default=0)
    epochs, steps = total_epochs(job) or 0, total_steps(job) or _done_steps(job) or last
    return [steps * (epoch + 1) // epochs for epoch in range(epochs)] if steps else []


def _overfitting(series: Sequence[Series], ends: Sequence[int]) -> Overfitting | None:
    overfitting = find_overfitting(series)
    if overfitting is None or overfitting.step is None or not ends:
        return overfitting
    return msgspec.structs.replace(overfitting, epoch=min(bisect_left(ends, overfitting.step) + 1, len(ends)))


def _epochs(ends: Sequence[int], series: Sequence[Series]) -> list[Epoch]:
    return [
        Epoch(
            epoch=number,
            step=end,
            mean=_known((metric.name, metric.mean(end, after=start)) for metric in series),
            last=_known((metric.name, metric.at(end, after=start)) for metric in series),
        )
        for number, (start, end) in enumerate(pairwise([-1, *ends]), start=1)
    ]


def _checkpoints(job: TuningJob, series: Sequence[Series]) -> list[CheckpointMetrics]:
    saved = sorted(job.tuned_model.checkpoints if job.tuned_model else [], key=lambda checkpoint: checkpoint.step)
    pairs = pairwise([Checkpoint(step=-1), *saved])
    return [_checkpoint(checkpoint, before.step, series) for before, checkpoint in pairs]


def _checkpoint(checkpoint: Checkpoint, after: int, series: Sequence[Series]) -> CheckpointMetrics:
    metrics = _known((metric.name, metric.at(checkpoint.step, after=after)) for metric in series)
    return CheckpointMetrics(
        checkpoint.checkpoint_id, checkpoint.epoch, checkpoint.step, checkpoint.endpoint, metrics=metrics
    )


def _best(checkpoints: Iterable[CheckpointMetrics]) -> CheckpointMetrics | None:
    validated = [checkpoint for checkpoint in checkpoints if VALIDATION_LOSS in checkpoint.metrics]
    return min(validated, key=lambda checkpoint: checkpoint.metrics[VALIDATION_LOSS], default=None)


def _judged(
    choice: CheckpointChoice | None,
    job: TuningJob,
    checkpoints: Sequence[CheckpointMetrics],
    best: CheckpointMetrics | None,
) -> CheckpointMetrics | None:
    """The checkpoint whose model is judged. A checkpoint without an endpoint cannot predict, so it is not chosen."""
    if choice == "best" and best and best.endpoint:
        return best
    last = checkpoints[-1] if checkpoints else None
    endpoint = job.tuned_model.endpoint if job.tuned_model and choice is None else ""
    return next((saved for saved in checkpoints if endpoint and saved.endpoint == endpoint), last)


def _values_at(checkpoint: CheckpointMetrics | None, overfitting: Overfitting | None) -> dict[str, float]:
    """The values that differ at an earlier checkpoint; empty for the last one."""
    if checkpoint is None:
        return {}
    values = {f"{name.removeprefix('/')}.last": value for name, value in checkpoint.metrics.items()}
    loss = checkpoint.metrics.get(VALIDATION_LOSS)
    if overfitting and loss is not None:
        values["overfitting"] = float(overfitting.found and loss > overfitting.best + overfitting.tolerance)
    return values


def _values(job: TuningJob, summary: dict[str, SeriesSummary], overfitting: Overfitting | None) -> dict[str, float]:
    of_series = (
        (f"{name.removeprefix('/')}.{field}", getattr(values, field))
        for name, values in summary.items()
        for field in VALUES_OF_SERIES
    )
    of_job: dict[str, float | None] = {
        "overfitting": float(overfitting.found) if overfitting else None,
        "overfitting_epoch": overfitting.epoch if overfitting else None,
        "billed_tokens": billed_tokens(job),
        "duration_seconds": _seconds(job.start_time, job.end_time),
        "queue_seconds": _seconds(job.create_time, job.start_time),
    }
    return _known([*of_series, *of_job.items()])


def _seconds(start: str | None, end: str | None) -> float | None:
    if not start or not end:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _known(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {name: float(value) for name, value in values if value is not None}


def _not_finite(summary: dict[str, SeriesSummary]) -> list[str]:
    return [
        f"{name}: {values.not_finite} of {values.points} values are not finite numbers."
        for name, values in summary.items()
        if values.not_finite
    ]


def _overfitted(
    overfitting: Overfitting | None, best: CheckpointMetrics | None, earlier: CheckpointMetrics | None
) -> list[str]:
    if not overfitting or not overfitting.found:
        return []
    if earlier:
        return [f"The training is {overfitting}. The model of checkpoint {earlier.checkpoint_id} is judged instead."]
    advice = f" Checkpoint {best.checkpoint_id} (epoch {best.epoch}) has the lowest validation loss." if best else ""
    return [f"The model is {overfitting}.{advice} Fewer epochs, more data or `promotion.checkpoint: best` can help."]
