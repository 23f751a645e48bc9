"""Build the parts of a report, each from the result of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from vertex_tuning.jobs.job import ADAPTER_SIZES, TuningJob, total_epochs, total_steps
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.metrics.series import VALIDATION_ACCURACY, VALIDATION_LOSS, SeriesColumns, SeriesSummary
from vertex_tuning.report import content as to
from vertex_tuning.report.charts import Curve, Mark, charts_of
from vertex_tuning.report.names import (
    distribution_label,
    seconds,
    series_label,
    series_rank,
    words,
)
from vertex_tuning.resources.resource_names import location_of
from vertex_tuning.results import (
    AnswerSet,
    DatasetFile,
    Distribution,
    FileReport,
    FileSummary,
    MetricsResult,
    PreviousResult,
    SmokeAnswer,
    Statistics,
    UploadResult,
)
from vertex_tuning.text.plain_text import plain, plain_lines

ANSWER_CHARACTERS_SHOWN: Final = 10_000
"""Most characters of a prompt or an answer on the page."""

MAX_ANSWERS: Final = 50
"""Most answers in a section; the files in the run's folder have all."""

_Item = TypeVar("_Item")

_RANKS: Final = {name: rank for rank, name in ADAPTER_SIZES.items()}


def facts(values: Mapping[str, Any]) -> list[to.Fact]:
    """The plain values of an object, in its order."""
    return [to.Fact(words(name), value) for name, value in values.items() if isinstance(value, str | int | float)]


def dataset(upload: UploadResult, report: DatasetFile | None, job: TuningJob | None) -> to.DatasetSummary:
    """The dataset and the findings of its check.

    :param job: has the numbers that the service counted in the same data, if it has counted them
    """
    report = report or DatasetFile()
    files = [_file("training", upload.training, report.training)]
    if upload.validation:
        files.append(_file("validation", upload.validation, report.validation))
    if upload.test:
        files.append(_file("test", upload.test, report.test))
    counts = compare_with_service(msgspec.structs.asdict(upload.training), job) if job else []
    return to.DatasetSummary(upload.dataset_hash, files, [*counts, *upload.warnings])


def _file(kind: str, summary: FileSummary, report: FileReport | None) -> to.DataFile:
    values = msgspec.structs.asdict(summary)
    del values["name"]
    counts = (report.labels if report else {}).items()
    labels = [to.Fact(plain(label), count) for label, count in sorted(counts, key=lambda pair: (-pair[1], pair[0]))]
    histograms = list(_distributions(report.statistics)) if report and report.statistics else []
    return to.DataFile(kind, summary.name, facts(values), histograms, labels)


def _distributions(statistics: Statistics) -> Iterator[to.Histogram]:
    for field in msgspec.structs.fields(statistics):
        value = getattr(statistics, field.name)
        if isinstance(value, Distribution) and value.buckets:
            bins = [to.Bin(bucket.left, bucket.right, bucket.count) for bucket in value.buckets]
            yield to.Histogram(distribution_label(field.encode_name), facts(msgspec.structs.asdict(value)), bins)


def settings(job: TuningJob) -> list[to.Fact]:
    """Settings of the job, as the service applied them, and its duration."""
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    chosen = method.hyper_parameters if method else None
    before = job.pre_tuned_model
    given: dict[str, Any] = {
        "Base model": job.base_model or (before and before.tuned_model_name),
        "Method": "preference" if job.preference_optimization_spec else "supervised",
        "Display name": job.tuned_model_display_name,
        "Epochs": total_epochs(job),
        "Learning-rate multiplier": chosen and chosen.learning_rate_multiplier,
        "Adapter size": chosen and chosen.adapter_size and _RANKS.get(chosen.adapter_size, chosen.adapter_size),
        "Checkpoints": "the last only" if method and method.export_last_checkpoint_only else "all",
        "Training steps": total_steps(job),
        "Location": location_of(job.name),
        "State of the job": job.state.removeprefix("JOB_STATE_").replace("_", " ").lower(),
        "Created": job.create_time,
        "Time in queue": _between(job.create_time, job.start_time),
        "Training time": _between(job.start_time, job.end_time),
    }
    return [to.Fact(name, value) for name, value in given.items() if value is not None]


def _between(start: str | None, end: str | None) -> str | None:
    if not start or not end:
        return None
    return seconds((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def metrics(collected: MetricsResult, series: Mapping[str, SeriesColumns]) -> to.Metrics:
    """Metrics of the training, with curves.

    :param series: all points; if empty, the curves have only the points of the summary
    """
    summary = collected.metrics
    curves = {name: _curve(columns.step, columns.value) for name, columns in series.items()}
    coarse = {name: _curve(*zip(*values.curve, strict=True)) for name, values in summary.items() if values.curve}
    checkpoints = list(_checkpoints(collected))
    marks = [Mark(row.step, row.checkpoint_id, row.best) for row in checkpoints]
    overfitting = collected.overfitting
    return to.Metrics(
        measures=[_measure(name, summary[name]) for name in sorted(summary, key=series_rank)],
        charts=charts_of(curves or coarse, marks, overfitting.step if overfitting else None),
        checkpoints=checkpoints,
        overfitting=overfitting.found if overfitting else None,
        warnings=collected.warnings,
        values=collected.values,
    )


def _curve(steps: Sequence[float], values: Sequence[float | None]) -> Curve:
    return [(int(step), value) for step, value in zip(steps, values, strict=True) if value is not None]


def _measure(name: str, summary: SeriesSummary) -> to.Measure:
    return to.Measure(
        name, series_label(name), summary.first, summary.last, summary.best, summary.best_step, summary.points
    )


def _checkpoints(collected: MetricsResult) -> Iterator[to.CheckpointRow]:
    best = collected.best_checkpoint.checkpoint_id if collected.best_checkpoint else None
    for saved in collected.checkpoints:
        yield to.CheckpointRow(
            saved.checkpoint_id,
            saved.epoch,
            saved.step,
            saved.checkpoint_id == best,
            saved.metrics.get(VALIDATION_LOSS),
            saved.metrics.get(VALIDATION_ACCURACY),
        )


def answers(given: AnswerSet, file: str | None = None) -> to.AnswerList | None:
    """The answers to the cases or to the sample of the validation data; None without answers.

    :param file: the file with all answers
    """
    if not given.total:
        return None
    shown = failed_first(given.answers, lambda answer: bool(answer.problem))
    return to.AnswerList(given.passed, given.total, [_answer(answer) for answer in shown], file or "")


def failed_first(given: Sequence[_Item], is_failed: Callable[[_Item], bool]) -> list[_Item]:
    """At most `MAX_ANSWERS` of the answers, in their order; of more answers, the failed ones are kept."""
    failed = sorted(range(len(given)), key=lambda index: not is_failed(given[index]))
    return [given[index] for index in sorted(failed[:MAX_ANSWERS])]


def _answer(answer: SmokeAnswer) -> to.Answer:
    fields = ("name", "prompt", "answer", "problem", "finish_reason")
    texts = {field: shown_text(getattr(answer, field)) for field in fields}
    return to.Answer(**texts, latency=answer.latency, tokens=answer.tokens)


def cost(
    upload: UploadResult | None, collected: MetricsResult | None, *, job_created: bool = True
) -> to.CostSummary | None:
    """The estimated cost, and the cost by the token count of the service; without a job, no cost."""
    if upload is None or upload.cost is None:
        return None
    expected, billed = upload.cost, collected.billed_tokens if collected else None
    if not job_created:
        return to.CostSummary("Nothing: this run created no tuning job.", None, 0.0, expected.currency)
    if billed is None or expected.price is None:
        return to.CostSummary(str(expected), None, expected.amount, expected.currency)
    amount = billed / 1e6 * expected.price
    text = f"{billed:,.0f} training tokens x {expected.currency} {expected.price:.2f} per million"
    return to.CostSummary(str(expected), f"{text} = {expected.currency} {amount:,.2f}", amount, expected.currency)


def rollback(found: PreviousResult) -> list[to.Fact]:
    """The models of a rollback."""
    models = {
        "Model in use before this run": found.champion,
        "Previous model": found.previous.model,
        "Endpoint of the previous model": found.previous.endpoint,
    }
    return [to.Fact(name, value) for name, value in models.items() if value]


def shown_text(text: str, limit: int = ANSWER_CHARACTERS_SHOWN) -> str:
    """Shorten a text of a user or a model; the complete text is in the run's folder."""
    return plain_lines(text, limit)
