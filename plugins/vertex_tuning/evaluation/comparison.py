"""Judge a new model by its gates and by the promotion rule. Pure: no Airflow, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from vertex_tuning.evaluation.cases import in_full, summarize, values_of
from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.evaluation.gates import Gate, OnMissing, check_gates
from vertex_tuning.evaluation.promotion_rule import RuleValue, compare_models
from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.evaluation.value_names import BASELINE, EXACT_MATCH, EXACT_SHARE, GAIN_OVER_BASE
from vertex_tuning.report.names import value_label, value_text
from vertex_tuning.results import (
    AnswerSet,
    Gain,
    GateResult,
    ModelAnswers,
    ModelValues,
    PromotionRule,
    SmokeAnswer,
    Verdict,
)
from vertex_tuning.text.plain_text import shorten

VERDICTS: Final[dict[Verdict, str]] = {
    "first": "First model: nothing to compare with",
    "better": "Better than the model in use",
    "equal": "As good as the model in use, within the rule's limit",
    "undecided": "Undecided: the sample cannot tell",
    "unchanged": "The model in use already",
    "refused": "Refused",
}
"""Text of each verdict."""


class JudgedModel(msgspec.Struct, frozen=True):
    """A model in the comparison, with its values and its responses.

    :param values: values of its training and of its responses, by name
    :param cases: responses to the cases of the smoke test
    :param sampled: responses to the examples of the sample
    :param scores: for a value of the sample, the score of each example, from 0 to 1, in the order of `sampled`
    """

    values: dict[str, float]
    cases: Sequence[SmokeAnswer] = ()
    sampled: Sequence[SmokeAnswer] = ()
    scores: dict[str, Sequence[float]] = {}

    @classmethod
    def of(
        cls,
        values: Mapping[str, float],
        cases: Sequence[SmokeAnswer],
        sampled: Sequence[SmokeAnswer] = (),
        scores: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ) -> JudgedModel:
        """Combine the values of the training with the values of the responses.

        :param values: values of the training; values of the responses replace values of the same name
        :param cases: responses to the cases of the smoke test
        :param sampled: responses to the examples of the sample
        :param scores: by name of the value, the score of each example of the sample
        """
        means = {name: math.fsum(found) / len(found) for name, found in scores.items() if found}
        return cls({**values, **values_of(cases, sampled), **means}, cases, sampled, dict(scores))

    def answers(self) -> ModelAnswers:
        """The complete responses to the cases; of the sample only counts, because the rows have the responses."""
        return ModelAnswers(in_full(self.cases), self._sample_counts())

    def measured(self, name: str) -> RuleValue:
        """A value of the model with the scores of its examples."""
        return RuleValue(self.values.get(name), self.scores.get(name, ()))

    def short(self) -> ModelAnswers:
        """Summary of the responses that is small enough for an XCom: some responses to cases, with shortened texts."""
        return ModelAnswers(summarize(self.cases), self._sample_counts())

    def _sample_counts(self) -> AnswerSet:
        sampled = in_full(self.sampled)
        return AnswerSet(sampled.passed, sampled.total)


class Judgement(msgspec.Struct, frozen=True):
    """Judgement of a new model.

    :param verdict: see `Verdict`
    :param reasons: sentences that say why the model is refused, or why it cannot be decided; empty for other verdicts
    :param gates: result of each gate
    :param values: values that rule and gates use, by name, of each model
    :param gain: gain by the rule's value; None if the bare numbers were compared
    :param needed: number of examples that would decide; None if it is decided, or cannot be
    """

    verdict: Verdict
    reasons: list[str]
    gates: list[GateResult]
    values: dict[str, ModelValues]
    gain: Gain | None = None
    needed: int | None = None


def judge_models(
    rule: PromotionRule,
    gates: Sequence[Gate],
    on_missing: OnMissing,
    challenger: JudgedModel,
    champion: JudgedModel | None,
    baseline: JudgedModel | None = None,
) -> Judgement:
    """Judge a new model by its gates, and by the promotion rule if there is a model in use.

    :param rule: promotion rule of the tuning
    :param gates: limits for values of the new model
    :param on_missing: what to do about a gate whose value is unknown
    :param challenger: the new model
    :param champion: the model in use; None if no model is in use, or if the new model itself is
    :param baseline: the base model, if it predicted the sample; its values are `baseline.*` of the new model
    """
    challenger = against_baseline(rule, challenger, baseline) if baseline else challenger
    checked = check_gates(gates, challenger.values, champion.values if champion else None, on_missing)
    refusals = [_words(gate) for gate in checked if not gate.passed]
    # The metric `exact_match` gives the exact share again; rule and gates may name it.
    scored = (name for name in challenger.scores if name != EXACT_MATCH)
    answered = (*values_of(challenger.cases, challenger.sampled), *scored)
    shown = [rule.value, *(gate.value for gate in gates), *answered]
    values = _values_of_all(dict.fromkeys(shown), champion, challenger, baseline)
    if champion is None:
        return Judgement("refused" if refusals else "first", refusals, checked, values)
    compared = compare_models(rule, challenger.measured(rule.value), champion.measured(rule.value))
    refusals += compared.reasons if compared.verdict == "refused" else []
    refusals += _regressions(rule, champion, challenger)
    if refusals:
        return Judgement("refused", refusals, checked, values, compared.gain)
    return Judgement(compared.verdict, compared.reasons, checked, values, compared.gain, compared.needed)


def against_baseline(rule: PromotionRule, challenger: JudgedModel, baseline: JudgedModel) -> JudgedModel:
    """The new model with the values `baseline.*`, and `sample.gain_over_base` by the rule's value.

    Where the rule's value is not one of the sample, the gain is that of the exact answers.
    """
    value = rule.value if rule.value in baseline.scores else EXACT_SHARE
    values = {f"{BASELINE}{name.partition('.')[2]}": baseline.values[name] for name in baseline.scores}
    new, base = challenger.values.get(value), baseline.values.get(value)
    if new is not None and base is not None:
        values[GAIN_OVER_BASE] = rule.gain(new, base) if value == rule.value else new - base
    return msgspec.structs.replace(challenger, values={**challenger.values, **values})


def _words(gate: GateResult) -> str:
    text = "unknown" if gate.verdict == "missing" else value_text(gate.value, gate.found)
    return f"{value_label(gate.value)}: {text}, expected {gate.limit}."


def _values_of_all(
    names: Iterable[str], champion: JudgedModel | None, challenger: JudgedModel, baseline: JudgedModel | None
) -> dict[str, ModelValues]:
    def value(model: JudgedModel | None, name: str) -> float | None:
        return model.values.get(name) if model else None

    return {name: ModelValues(*(value(model, name) for model in (champion, challenger, baseline))) for name in names}


def comparison_table(values: Mapping[str, ModelValues]) -> str:
    """The values of the models as a text table, for the log.

    :param values: values of the models, by the name of the value
    """
    rows = [(name, found.baseline, found.champion, found.challenger) for name, found in values.items()]
    return text_table(("value", "base model", "model in use", "new model"), rows)


def _regressions(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    passed = {case.name for case in champion.cases if not case.problem}
    return [
        f"Case {case.name!r} fails ({shorten(case.problem, FOUND_SHOWN)}), and passes with the model in use."
        for case in challenger.cases
        if case.problem and case.name in passed and case.name in rule.no_regression
    ]
