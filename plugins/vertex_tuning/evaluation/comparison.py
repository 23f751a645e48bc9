"""Decide which of two models is better, by the promotion rule of their tuning. Pure: no Airflow, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from vertex_tuning.evaluation.cases import MAX_CASES, SmokeCase, in_full, summarize, too_many, values_of
from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.evaluation.gates import Gate, OnMissing, check_gates
from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.report.names import change_text, value_label, value_text, value_texts
from vertex_tuning.results import AnswerSet, BothValues, GateResult, ModelAnswers, PromotionRule, SmokeAnswer, Verdict
from vertex_tuning.text.plain_text import NAME_SHOWN, plain, shorten

VERDICTS: Final[dict[Verdict, str]] = {
    "first": "First model: nothing to compare with",
    "better": "Better than the model in use",
    "equal": "As good as the model in use",
    "unchanged": "The model in use already",
    "refused": "Refused",
}
"""Text of each verdict."""

ROUNDING: Final = 1e-9
"""Largest rounding error of the difference of two floats, as a share of the larger value."""


class JudgedModel(msgspec.Struct, frozen=True):
    """A model in the comparison, with its values and its responses.

    :param values: values of its training and of its responses, by name
    :param cases: responses to the cases of the smoke test
    :param sampled: responses to the sampled examples of the validation data
    """

    values: dict[str, float]
    cases: Sequence[SmokeAnswer] = ()
    sampled: Sequence[SmokeAnswer] = ()

    @classmethod
    def of(
        cls, values: Mapping[str, float], cases: Sequence[SmokeAnswer], sampled: Sequence[SmokeAnswer]
    ) -> JudgedModel:
        """Combine the values of the training with the values of the responses.

        :param values: values of the training; values of the responses replace values of the same name
        :param cases: responses to the cases of the smoke test
        :param sampled: responses to the sampled examples of the validation data
        """
        return cls({**values, **values_of(cases, sampled)}, cases, sampled)

    def answers(self) -> ModelAnswers:
        """All responses of the model, complete."""
        return ModelAnswers(in_full(self.cases), in_full(self.sampled))

    def short(self) -> ModelAnswers:
        """Summary of the responses that is small enough for an XCom.

        It has some responses to cases, with shortened texts. Of the examples it has only counts.
        """
        sampled = in_full(self.sampled)
        return ModelAnswers(summarize(self.cases), AnswerSet(sampled.passed, sampled.total))


class Judgement(msgspec.Struct, frozen=True):
    """Judgement of a new model.

    :param verdict: see `Verdict`
    :param reasons: sentences that say why the model is refused; empty if it is not refused
    :param gates: result of each gate
    :param values: values that rule and gates use, by name: `champion` (model in use) and `challenger` (new model);
        empty without a model in use
    """

    verdict: Verdict
    reasons: list[str]
    gates: list[GateResult]
    values: dict[str, BothValues]


def parse_rule(rule: Any, cases: Iterable[SmokeCase] | None = None) -> PromotionRule:
    """Parse a promotion rule.

    :param rule: mapping of the fields of `PromotionRule`, from YAML
    :param cases: cases of the tuning, which `no_regression` may name; None if they are not known yet
    :raises ConfigurationError: a field is wrong; the message gives the field, its value and the expectation
    """
    try:
        parsed = msgspec.convert(rule, PromotionRule)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"rule: found {rule!r}. {error}.") from error
    if not parsed.value.strip() or not (math.isfinite(parsed.min_gain) and parsed.min_gain >= 0):
        raise ConfigurationError(f"rule: found {rule!r}, expected the name of a value and a min_gain from 0.")
    if mistake := too_many("rule.no_regression", parsed.no_regression, MAX_CASES):
        raise ConfigurationError(mistake)
    # `parse_cases` cleans the names of cases in this way.
    parsed = msgspec.structs.replace(parsed, no_regression=[plain(name, NAME_SHOWN) for name in parsed.no_regression])
    names = [case.name for case in cases] if cases is not None else parsed.no_regression
    if unknown := [name for name in parsed.no_regression if name not in names]:
        raise ConfigurationError(f"rule.no_regression: found {unknown[0]!r}, expected names of cases ({names}).")
    return parsed


def objections(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    """Sentences that say why the new model is not better; empty if it is.

    :param rule: promotion rule of the tuning
    :param champion: the model in use
    :param challenger: the new model
    """
    return [*_no_gain(rule, champion, challenger), *_regressions(rule, champion, challenger)]


def judge_models(
    rule: PromotionRule,
    gates: Sequence[Gate],
    on_missing: OnMissing,
    challenger: JudgedModel,
    champion: JudgedModel | None,
) -> Judgement:
    """Judge a new model by its gates, and by the promotion rule if there is a model in use.

    :param rule: promotion rule of the tuning
    :param gates: limits for values of the new model
    :param on_missing: what to do about a gate whose value is unknown
    :param challenger: the new model
    :param champion: the model in use; None if no model is in use, or if the new model itself is
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
    """Whether a new model that is not refused is better, or only as good."""
    new, old = challenger.values[rule.value], champion.values[rule.value]
    return "better" if rule.gain(new, old) > ROUNDING * max(abs(new), abs(old)) else "equal"


def _words(gate: GateResult) -> str:
    text = "unknown" if gate.verdict == "missing" else value_text(gate.value, gate.found)
    return f"{value_label(gate.value)}: {text}, expected {gate.limit}."


def _both(names: Iterable[str], champion: JudgedModel, challenger: JudgedModel) -> dict[str, BothValues]:
    return {name: BothValues(champion.values.get(name), challenger.values.get(name)) for name in names}


def comparison_table(values: Mapping[str, BothValues]) -> str:
    """The values of both models as a text table, for the log.

    :param values: values of both models, by the name of the value
    """
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
    new_text, old_text = value_texts(rule.value, new, old)
    wanted = gain if rule.min_gain else "must not be worse"
    return [f"{label}: {new_text}, model in use {old_text}. The new model {wanted}."]


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _regressions(rule: PromotionRule, champion: JudgedModel, challenger: JudgedModel) -> list[str]:
    passed = {case.name for case in champion.cases if not case.problem}
    return [
        f"Case {case.name!r} fails ({shorten(case.problem, FOUND_SHOWN)}), and passes with the model in use."
        for case in challenger.cases
        if case.problem and case.name in passed and case.name in rule.no_regression
    ]
