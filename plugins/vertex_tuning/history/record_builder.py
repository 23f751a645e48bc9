"""Build the record of a run from its report. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from vertex_tuning.history.run_record import (
    NAME_KEPT,
    SENTENCES_KEPT,
    TEXT_KEPT,
    TITLE_KEPT,
    URL_KEPT,
    ModelScore,
    ObjectUri,
    RunRecord,
    Url,
)
from vertex_tuning.history.score_interval import score_with_interval
from vertex_tuning.jobs.job import ADAPTER_SIZES, JobHyperParameters, TunedModel, TuningJob
from vertex_tuning.metrics.series import LOSSES, VALIDATION_LOSS
from vertex_tuning.report.content import Report
from vertex_tuning.report.material import Material
from vertex_tuning.results import (
    EvaluationResult,
    Gain,
    MetricsResult,
    ModelAnswers,
    PreviousResult,
    Role,
    UploadResult,
)
from vertex_tuning.text.plain_text import plain, storable, without_secrets

_NOT_OF_EACH_MODEL: Final = ("sample.gain_over_base", "judge.win_rate")
"""Values of a sample that compare two models, so that they are no mean over the sample."""

_RANKS: Final = {name: rank for rank, name in ADAPTER_SIZES.items()}


def build_record(
    given: Material,
    report: Report,
    *,
    tuning: str,
    key: str,
    report_uri: str = "",
    report_url: str = "",
    warnings: Iterable[str] = (),
) -> RunRecord:
    """The record of a run.

    :param given: results of the tasks
    :param report: report of the same results
    :param tuning: name of the tuning
    :param key: the run's key, see :func:`~vertex_tuning.datasets.manifest.run_key`
    :param report_uri: `gs://…` URI of the page; empty if none was written
    :param report_url: URL of the page for a browser
    :param warnings: e.g. that Google retires the base model
    :raises msgspec.ValidationError: the name of the tuning or the key has another form
    """
    verdict = report.verdict
    facts: dict[str, Any] = {
        "tuning": tuning,
        "key": key,
        "kind": "rollback" if given.tasks.get(Role.ROLLBACK) in given.states else "retraining",
        "dag_id": _name(given.dag_id),
        "run_id": _name(given.run_id),
        "started": given.started,
        "ended": given.created,
        "outcome": verdict.outcome,
        "title": _text(verdict.title, TITLE_KEPT),
        "sentence": _text(verdict.sentence),
        "reasons": _texts(verdict.reasons),
        "warnings": _texts(warnings),
        "over_budget": bool(given.over_budget),
        "report_uri": _uri(report_uri, ObjectUri),
        "report_url": _uri(report_url, Url),
        "run_url": _uri(given.run_url, Url),
        **_models(given),
        **_scores(given.evaluation),
        **_training(given.job, given.metrics),
        **_data(given.upload),
        "candidates": len(given.selection.candidates) if given.selection else 1,
        **_cost(given, report),
    }
    return msgspec.convert(facts, RunRecord)


def _models(given: Material) -> dict[str, Any]:
    names = _rolled_back(given.previous) if given.previous else _trained(given)
    return {field: _name(name) for field, name in names.items()}


def _rolled_back(found: PreviousResult) -> dict[str, str | None]:
    return {
        "model": found.previous.model,
        "endpoint": found.previous.endpoint,
        "compared_model": found.champion,
        "job": found.previous.job,
    }


def _trained(given: Material) -> dict[str, str | None]:
    job, evaluation = given.job, given.evaluation
    tuned = (job.tuned_model if job else None) or TunedModel()
    champion = evaluation.champion if evaluation else None
    return {
        "model": (evaluation.model if evaluation else "") or tuned.model,
        "endpoint": (given.metrics.endpoint if given.metrics else "") or tuned.endpoint,
        "base_model": trained_base(given),
        "compared_model": champion.model if champion else "",
        "job": job.name if job else "",
        "experiment": job.experiment if job else "",
    }


def trained_base(given: Material) -> str:
    """The base model that a run trains, also of a job that tunes a tuned model further; empty if it is not known."""
    job, cost = given.job, given.upload.cost if given.upload else None
    before = job.pre_tuned_model if job else None
    return (job and job.base_model) or (before and before.base_model) or (cost and cost.model) or ""


def _scores(evaluation: EvaluationResult | None) -> dict[str, Any]:
    rule = evaluation.comparison.rule if evaluation else None
    if evaluation is None or rule is None:
        return {}
    compared = evaluation.comparison
    scores = {
        "score": _score(evaluation, rule.value, "challenger"),
        "champion_score": _score(evaluation, rule.value, "champion"),
        "baseline_score": _score(evaluation, rule.value, "baseline"),
    }
    gain = compared.gain if compared.gain and _is_finite(compared.gain) else None
    return {"value": _text(rule.value, TITLE_KEPT), **scores, "gain": gain}


def _score(evaluation: EvaluationResult, value: str, model: str) -> ModelScore | None:
    values = evaluation.comparison.values.get(value)
    found: float | None = getattr(values, model) if values else None
    if found is None or not math.isfinite(found):
        return None
    is_mean = value.startswith(("sample.", "judge.")) and value not in _NOT_OF_EACH_MODEL
    return score_with_interval(found, _examples(evaluation, model) if is_mean else 0)


def _examples(evaluation: EvaluationResult, model: str) -> int:
    """Number of examples that a model was measured on."""
    gain = evaluation.comparison.gain
    if gain and model != "baseline":
        return gain.examples
    return evaluation.answers.get(model, ModelAnswers()).sample.total


def _is_finite(gain: Gain) -> bool:
    return all(math.isfinite(number) for number in (gain.observed, gain.lower, gain.upper, gain.confidence))


def _training(job: TuningJob | None, metrics: MetricsResult | None) -> dict[str, Any]:
    method = (job.supervised_tuning_spec or job.preference_optimization_spec) if job else None
    chosen = (method.hyper_parameters if method else None) or JobHyperParameters()
    values = metrics.values if metrics else {}
    losses = (values.get(f"{name.removeprefix('/')}.last") for name in LOSSES)
    return {
        "job_state": _text(job.state, TITLE_KEPT) if job else "",
        "epochs": chosen.epoch_count,
        "learning_rate_multiplier": _finite(chosen.learning_rate_multiplier),
        "adapter_size": _RANKS.get(chosen.adapter_size or ""),
        "training_loss": _finite(next((loss for loss in losses if loss is not None), None)),
        "validation_loss": _finite(values.get(f"{VALIDATION_LOSS.removeprefix('/')}.last")),
        "overfitting": metrics.overfitting.found if metrics and metrics.overfitting else None,
        "job_seconds": _finite(values.get("duration_seconds")),
        "metrics_uri": _uri((metrics and metrics.series_uri) or "", ObjectUri),
    }


def _data(upload: UploadResult | None) -> Mapping[str, Any]:
    if upload is None:
        return {}
    return {"dataset_hash": _text(upload.dataset_hash, TITLE_KEPT), "examples": upload.training.rows}


def _cost(given: Material, report: Report) -> dict[str, Any]:
    """The cost as the report has it, with the tokens that it is for."""
    measured = given.selection or given.metrics
    billed = measured.billed_tokens if measured else None
    estimate = given.upload.cost if given.upload and given.job else None
    cost = report.cost
    return {
        "cost": _finite(cost.amount) if cost else None,
        "currency": _text(cost.currency, TITLE_KEPT) if cost else "",
        "is_estimate": billed is None and bool(cost and cost.amount),
        "tokens": round(billed) if billed else estimate and estimate.training_tokens,
        "candidates": len(given.selection.candidates) if given.selection else 1,
    }


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def _text(text: str | None, limit: int = TEXT_KEPT) -> str:
    return plain(without_secrets(storable(text or "")), limit)


def _texts(texts: Iterable[str]) -> list[str]:
    return [_text(text) for text in list(texts)[:SENTENCES_KEPT]]


def _name(text: str | None) -> str:
    return plain(storable(text or ""), NAME_KEPT)


def _uri(uri: str, kind: Any) -> str:
    """A URI of a kind; empty for another text, which a page must not link to."""
    try:
        valid: str = msgspec.convert(uri, kind)
    except msgspec.ValidationError:
        return ""
    return valid if plain(valid, URL_KEPT) == valid else ""
