"""The parts of a report, each from what one task returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from vertex_tuning.costs.pricing import Cost
from vertex_tuning.jobs.job import ADAPTER_SIZES, TuningJob, total_epochs, total_steps
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.plain_text import plain, plain_lines
from vertex_tuning.report import content as to
from vertex_tuning.report.charts import Curve, Mark, charts_of
from vertex_tuning.report.names import (
    change_text,
    distribution_label,
    seconds,
    series_label,
    series_rank,
    value_label,
    words,
)
from vertex_tuning.resource_names import location_of

ANSWER_CHARACTERS_SHOWN: Final = 10_000
"""Characters of a prompt or an answer on the page."""

Json = dict[str, Any]

_RANKS: Final = {name: rank for rank, name in ADAPTER_SIZES.items()}


def facts(values: Mapping[str, Any]) -> list[to.Fact]:
    """The plain values of an object, in its order."""
    return [to.Fact(words(name), value) for name, value in values.items() if isinstance(value, str | int | float)]


def dataset(upload: Json, report: Json, job: TuningJob | None) -> to.DatasetSummary:
    """:param job: what the service counted in the same data, once it has"""
    files = [_file(kind, upload[kind], report.get(kind)) for kind in ("training", "validation") if upload.get(kind)]
    warnings = [str(warning) for warning in upload.get("warnings") or []]
    if job and {"rows", "tokens"} <= (upload.get("training") or {}).keys():
        warnings = [*compare_with_service(upload["training"], job), *warnings]
    return to.DatasetSummary(str(upload.get("dataset_hash", "")), files, warnings)


def _file(kind: str, summary: Json, report: Any) -> to.DataFile:
    values = {name: value for name, value in summary.items() if name != "name"}
    counts = ((report or {}).get("labels") or {}).items()
    labels = [to.Fact(plain(label), count) for label, count in sorted(counts, key=lambda one: (-one[1], one[0]))]
    return to.DataFile(kind, str(summary.get("name", "")), facts(values), list(_distributions(report)), labels)


def _distributions(report: Any) -> Iterator[to.Histogram]:
    """Wherever they are in a file's statistics: objects that have buckets, as Vertex AI's own do."""
    for name, value in report.items() if isinstance(report, dict) else ():
        if isinstance(value, dict) and value.get("buckets"):
            bins = [to.Bin(one["left"], one["right"], one["count"]) for one in value["buckets"]]
            yield to.Histogram(distribution_label(name), facts(value), bins)
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


def metrics(collected: Json, series: Json) -> to.Metrics:
    """:param series: metrics.json; without it the curves are the coarse ones of the summary"""
    summary: dict[str, Json] = collected.get("metrics") or {}
    curves = {name: _curve(one["step"], one["value"]) for name, one in (series.get("series") or {}).items()}
    coarse = {name: _curve(*zip(*one["curve"], strict=True)) for name, one in summary.items() if one.get("curve")}
    checkpoints = list(_checkpoints(collected))
    marks = [Mark(one.step, one.checkpoint_id, one.best) for one in checkpoints]
    overfitting = collected.get("overfitting") or {}
    return to.Metrics(
        measures=[_measure(name, summary[name]) for name in sorted(summary, key=series_rank)],
        charts=charts_of(curves or coarse, marks, overfitting.get("step")),
        checkpoints=checkpoints,
        overfitting=overfitting.get("found"),
        warnings=[str(warning) for warning in collected.get("warnings") or []],
        values=collected.get("values") or {},
    )


def _curve(steps: Sequence[float], values: Sequence[float | None]) -> Curve:
    return [(int(step), value) for step, value in zip(steps, values, strict=True) if value is not None]


def _measure(name: str, summary: Json) -> to.Measure:
    fields = ("first", "last", "best", "best_step", "points")
    return to.Measure(name, series_label(name), *(summary[field] for field in fields))


def _checkpoints(collected: Json) -> Iterator[to.CheckpointRow]:
    best = (collected.get("best_checkpoint") or {}).get("checkpoint_id")
    for one in collected.get("checkpoints") or []:
        found, names = one["metrics"], ("/eval_total_loss", "/eval_fraction_of_correct_next_step_preds")
        place = (one["checkpoint_id"], one["epoch"], one["step"], one["checkpoint_id"] == best)
        yield to.CheckpointRow(*place, *(found.get(name) for name in names))


def gates(evaluation: Json) -> list[to.GateRow]:
    return [
        to.GateRow(one["value"], value_label(one["value"]), one.get("found"), str(one.get("limit", "")), one["verdict"])
        for one in evaluation.get("gates") or []
    ]


def answers(asked: Json | None) -> to.AnswerList | None:
    """Cases or the validation set's sample."""
    if not asked or not asked.get("total"):
        return None
    return to.AnswerList(asked["passed"], asked["total"], [_answer(one) for one in asked.get("answers") or []])


def _answer(one: Json) -> to.Answer:
    fields = ("name", "prompt", "answer", "problem", "finish_reason")
    texts = {field: _shown(one.get(field)) for field in fields}
    return to.Answer(**texts, latency=one.get("latency"), tokens=one.get("tokens"))


def cost(upload: Json, collected: Json, *, job_created: bool = True) -> to.CostSummary | None:
    """What was expected, and what the service's own count of tokens comes to; without a job, nothing."""
    if not upload.get("cost"):
        return None
    expected, billed = msgspec.convert(upload["cost"], Cost), (collected.get("values") or {}).get("billed_tokens")
    if not job_created:
        return to.CostSummary("Nothing: this run created no tuning job.", None, 0.0, expected.currency)
    if billed is None or expected.price is None:
        return to.CostSummary(str(expected), None, expected.amount, expected.currency)
    amount = billed / 1e6 * expected.price
    text = f"{billed:,.0f} training tokens x {expected.currency} {expected.price:.2f} per million"
    return to.CostSummary(str(expected), f"{text} = {expected.currency} {amount:,.2f}", amount, expected.currency)


def rollback(found: Json) -> list[to.Fact]:
    """:param found: what the task returned that looked for the previous model"""
    previous = found.get("previous") or {}
    given = {
        "Model in use before this run": found.get("champion"),
        "Previous model": previous.get("model"),
        "Endpoint of the previous model": previous.get("endpoint"),
    }
    return [to.Fact(name, str(value)) for name, value in given.items() if value]


def comparison(evaluation: Json) -> to.Comparison | None:
    """None when there was no model in use to compare with."""
    if not evaluation.get("champion"):
        return None
    compared = evaluation.get("comparison") or {}
    return to.Comparison(
        champion=str(evaluation["champion"].get("model", "")),
        challenger=str(evaluation.get("model", "")),
        rule=_rule(compared["rule"]) if compared.get("rule") else "",
        notes=[str(note) for note in compared.get("notes") or []],
        values=[
            to.Compared(name, value_label(name), both.get("champion"), both.get("challenger"))
            for name, both in (compared.get("values") or {}).items()
        ],
        answers=list(_pairs(evaluation.get("answers") or {})),
    )


def _rule(rule: Json) -> str:
    direction = "higher" if rule.get("higher_is_better", True) else "lower"
    gain = (
        f"must be at least {change_text(rule['value'], rule['min_gain'])} {direction}"
        if rule.get("min_gain")
        else "must not be worse"
    )
    cases = rule.get("no_regression")
    kept = f" Cases that the model in use passes must not fail: {', '.join(cases)}." if cases else ""
    return f"{value_label(rule['value'])} ({rule['value']}) {gain}.{kept}"


def _pairs(answers: Json) -> Iterator[to.AnswerPair]:
    for kind in ("cases", "sample"):
        old, new = ((answers.get(side) or {}).get(kind, {}).get("answers", []) for side in ("champion", "challenger"))
        answered = {one["name"]: one for one in old}
        # By name: in an XCom each side has a few answers, not always to the same prompts.
        for theirs, ours in ((answered[one["name"]], one) for one in new if one["name"] in answered):
            texts = (_shown(one[field]) for one in (theirs, ours) for field in ("answer", "problem"))
            yield to.AnswerPair(_shown(ours["name"]), _shown(ours["prompt"]), *texts)


def _shown(text: str | None) -> str:
    """A text of a person or a model; the whole of it is in the run's folder."""
    return plain_lines(text or "", ANSWER_CHARACTERS_SHOWN)
