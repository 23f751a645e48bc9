"""Which of two models is better, by the rule of their tuning. Pure: no Airflow, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from vertex_tuning.evaluation.cases import SmokeCase, in_full, summarize, values_of
from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.evaluation.gates import Gate, OnMissing, check_gates
from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.plain_text import NAME_SHOWN, plain, shorten
from vertex_tuning.report.names import change_text, value_label, value_text, value_texts
from vertex_tuning.results import AnswerSet, BothValues, GateResult, ModelAnswers, PromotionRule, SmokeAnswer, Verdict

VERDICTS: Final[dict[Verdict, str]] = {
    "first": "First model: nothing to compare with",
    "better": "Better than the model in use",
    "equal": "As good as the model in use",
    "unchanged": "The model in use already",
    "refused": "Refused",
}
"""In words."""

ROUNDING: Final = 1e-9
"""What subtracting two floats may be off by."""


class JudgedModel(msgspec.Struct, frozen=True):
    """A model in the comparison.

    :param values: of its training, and of what it was asked now
    :param cases: its answers to the cases
    :param sampled: its answers to the examples
    """

    values: dict[str, float]
    cases: Sequence[SmokeAnswer] = ()
    sampled: Sequence[SmokeAnswer] = ()

    @classmethod
    def of(
        cls, values: Mapping[str, float], cases: Sequence[SmokeAnswer], sampled: Sequence[SmokeAnswer]
    ) -> JudgedModel:
        """:param values: of its training; what is asked now counts before what was asked earlier"""
        return cls({**values, **values_of(cases, sampled)}, cases, sampled)

    def answers(self) -> ModelAnswers:
        """All answers."""
        return ModelAnswers(in_full(self.cases), in_full(self.sampled))

    def short(self) -> ModelAnswers:
        """Small enough for an XCom: some answers to the cases, with texts cut, and of the sample only the counts."""
        sampled = in_full(self.sampled)
        return ModelAnswers(summarize(self.cases), AnswerSet(sampled.passed, sampled.total))


class Judgement(msgspec.Struct, frozen=True):
    """What is to be thought of a new model.

    :param reasons: why it is refused, in words
    :param values: those that count, of `champion` and `challenger`; empty when there is nothing to compare with
    """

    verdict: Verdict
    reasons: list[str]
    gates: list[GateResult]
    values: dict[str, BothValues]


def parse_rule(rule: Any, cases: Iterable[SmokeCase] | None = None) -> PromotionRule:
    """
    :param rule: as YAML has it
    :param cases: those there are, for `no_regression` to name; None when they are not known yet
    :raises ConfigurationError: names the field, what was found and what is expected
    """
    try:
        parsed = msgspec.convert(rule, PromotionRule)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"rule: found {rule!r}. {error}.") from error
    if not parsed.value.strip() or not (math.isfinite(parsed.min_gain) and parsed.min_gain >= 0):
        raise ConfigurationError(f"rule: found {rule!r}, expected the name of a value and a min_gain from 0.")
    # As `parse_cases` names them.
    parsed = msgspec.structs.replace(parsed, no_regression=[plain(name, NAME_SHOWN) for name in parsed.no_regression])
    names = [case.name for case in cases] if cases is not None else parsed.no_regression
    if unknown := [name for name in parsed.no_regression if name not in names]:
        raise ConfigurationError(f"rule.no_regression: found {unknown[0]!r}, expected names of cases ({names}).")
    return parsed


def objections(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    """Why the challenger is not better, in words; nothing when it is."""
    return [*_no_gain(rule, champion, challenger), *_regressions(rule, champion, challenger)]


def judge_models(
    rule: PromotionRule,
    gates: Sequence[Gate],
    on_missing: OnMissing,
    challenger: JudgedModel,
    champion: JudgedModel | None,
) -> Judgement:
    """
    :param champion: the model in use; None when there is none, or when it is the challenger itself
    """
    checked = check_gates(gates, challenger.values, champion.values if champion else None, on_missing)
    reasons = [_words(gate) for gate in checked if not gate.passed]
    if champion:
        reasons += objections(rule, champion, challenger)
    verdict = "refused" if reasons else _comparison(rule, champion, challenger) if champion else "first"
    shown = [rule.value, *(gate.value for gate in gates), *values_of(challenger.cases, challenger.sampled)]
    values = _both(dict.fromkeys(shown), champion, challenger) if champion else {}
    return Judgement(verdict, reasons, checked, values)


def _comparison(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> Verdict:
    """Of a new model that is not refused: is it better, or only as good?"""
    new, old = challenger.values[rule.value], champion.values[rule.value]
    return "better" if rule.gain(new, old) > ROUNDING * max(abs(new), abs(old)) else "equal"


def _words(gate: GateResult) -> str:
    found = "unknown" if gate.verdict == "missing" else value_text(gate.value, gate.found)
    return f"{value_label(gate.value)}: {found}, expected {gate.limit}."


def _both(names: Iterable[str], champion: JudgedModel, challenger: JudgedModel) -> dict[str, BothValues]:
    return {name: BothValues(champion.values.get(name), challenger.values.get(name)) for name in names}


def comparison_table(values: Mapping[str, BothValues]) -> str:
    """Both models' values as text, for the log."""
    rows = [(name, both.champion, both.challenger) for name, both in values.items()]
    return text_table(("value", "model in use", "new model"), rows)


def _no_gain(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    new, old = (_known(side.values.get(rule.value)) for side in (challenger, champion))
    label = value_label(rule.value)
    if new is None or old is None:
        missing = "both models" if new is old else "the new model" if new is None else "the model in use"
        return [f"{label}: unknown for {missing}, so the models cannot be compared."]
    if rule.gain(new, old) >= rule.min_gain - ROUNDING * max(abs(new), abs(old)):
        return []
    direction = "higher" if rule.higher_is_better else "lower"
    gain = f"must be at least {change_text(rule.value, rule.min_gain)} {direction}"
    found, in_use = value_texts(rule.value, new, old)
    wanted = gain if rule.min_gain else "must not be worse"
    return [f"{label}: {found}, model in use {in_use}. The new model {wanted}."]


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _regressions(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    passed = {one.name for one in champion.cases if not one.problem}
    return [
        f"Case {one.name!r} fails ({shorten(one.problem, FOUND_SHOWN)}), and passes with the model in use."
        for one in challenger.cases
        if one.problem and one.name in passed and one.name in rule.no_regression
    ]
