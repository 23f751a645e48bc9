"""The parts of a report, each from what one task returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from vertex_tuning.jobs import ADAPTER_SIZES, TuningJob, total_epochs, total_steps
from vertex_tuning.report import content as to
from vertex_tuning.report.charts import Curve, Mark, charts_of
from vertex_tuning.report.names import number, seconds, series_label, value_label, words

Json = dict[str, Any]

_RANKS: Final = {name: rank for rank, name in ADAPTER_SIZES.items()}


def facts(values: Mapping[str, Any]) -> list[to.Fact]:
    """The plain values of an object, in its order."""
    return [to.Fact(words(name), value) for name, value in values.items() if isinstance(value, str | int | float)]


def dataset(upload: Json, report: Json) -> to.Dataset:
    files = [_file(kind, upload[kind], report.get(kind)) for kind in ("training", "validation") if upload.get(kind)]
    return to.Dataset(str(upload.get("dataset_hash", "")), files, [str(one) for one in upload.get("warnings") or []])


def _file(kind: str, summary: Json, report: Any) -> to.DataFile:
    plain = {name: value for name, value in summary.items() if name != "name"}
    return to.DataFile(kind, str(summary.get("name", "")), facts(plain), list(_distributions(report)))


def _distributions(report: Any) -> Iterator[to.Distribution]:
    """Wherever they are in a file's statistics: objects that have buckets, as Vertex AI's own do."""
    if not isinstance(report, dict):
        return
    for name, value in report.items():
        if isinstance(value, dict) and value.get("buckets"):
            bins = [to.Bin(float(b["left"]), float(b["right"]), float(b["count"])) for b in value["buckets"]]
            yield to.Distribution(words(name), facts(value), bins)
        else:
            yield from _distributions(value)


def settings(job: TuningJob) -> list[to.Fact]:
    """What the service made of what was asked for, and how long it took."""
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
        "Location": job.location,
        "State of the job": job.state.removeprefix("JOB_STATE_").replace("_", " ").lower(),
        "Created": job.create_time,
        "Waited for its start": _between(job.create_time, job.start_time),
        "Ran": _between(job.start_time, job.end_time),
    }
    return [to.Fact(name, value) for name, value in given.items() if value is not None]


def _between(start: str | None, end: str | None) -> str | None:
    if not start or not end:
        return None
    return seconds((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def metrics(collected: Json, series: Json, job: TuningJob | None) -> to.Metrics:
    """:param series: metrics.json; without it the curves are the coarse ones of the summary"""
    summary: dict[str, Json] = collected.get("metrics") or {}
    curves = _curves(series) or {name: _steps(values.get("curve") or []) for name, values in summary.items()}
    best, over = collected.get("best_checkpoint") or {}, collected.get("overfitting") or {}
    checkpoints = job.tuned_model.checkpoints if job and job.tuned_model else []
    marks = [Mark(one.step, one.checkpoint_id, one.checkpoint_id == best.get("checkpoint_id")) for one in checkpoints]
    values = [to.Fact(name, value) for name, value in (collected.get("values") or {}).items()]
    notes = [*_notes(best, over), *(str(warning) for warning in collected.get("warnings") or [])]
    return to.Metrics(
        [_measure(name, one) for name, one in summary.items()],
        charts_of(curves, marks, over.get("step")),
        notes,
        values,
    )


def _curves(series: Json) -> dict[str, Curve]:
    return {one["name"]: _steps([[p["step"], p["value"]] for p in one["points"]]) for one in series.get("series") or []}


def _steps(points: list[list[float]]) -> Curve:
    return [(int(step), float(value)) for step, value in points]


def _measure(name: str, summary: Json) -> to.Measure:
    fields = ("first", "last", "best", "best_step", "points")
    return to.Measure(name, series_label(name), *(summary[field] for field in fields))


def _notes(best: Json, overfitting: Json) -> Iterator[str]:
    if overfitting:
        where = f"from epoch {overfitting['epoch']} on" if "epoch" in overfitting else ""
        yield f"Over-fitting: validation loss rises while training loss falls, {where}."
    if best:
        yield f"Best checkpoint: {best.get('checkpoint_id')} (epoch {best.get('epoch')}, step {number(best.get('step'))})."


def gates(evaluation: Json) -> list[to.Gate]:
    return [
        to.Gate(one["value"], value_label(one["value"]), one.get("found"), str(one.get("limit", "")), one["verdict"])
        for one in evaluation.get("gates") or []
    ]


def answers(asked: Json | None) -> to.Answers | None:
    """Cases or the validation set's sample."""
    if not asked or not asked.get("total"):
        return None
    return to.Answers(asked["passed"], asked["total"], [_answer(one) for one in asked.get("answers") or []])


def _answer(one: Json) -> to.Answer:
    texts = (str(one.get(field) or "") for field in ("name", "prompt", "answer", "problem"))
    return to.Answer(*texts, latency=one.get("latency"), tokens=one.get("tokens"))


def comparison(evaluation: Json, job: TuningJob | None) -> to.Comparison | None:
    """None when there was no model in use to compare with."""
    champion = evaluation.get("champion")
    if not champion:
        return None
    compared = evaluation.get("comparison") or {}
    rows = [
        to.Compared(name, value_label(name), both.get("champion"), both.get("challenger"))
        for name, both in (compared.get("values") or {}).items()
    ]
    model = job.tuned_model.model if job and job.tuned_model else ""
    return to.Comparison(
        str(champion.get("model", "")), model, rows, [str(note) for note in compared.get("notes") or []]
    )
