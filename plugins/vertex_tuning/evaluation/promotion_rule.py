"""Parse the promotion rule of a tuning, and compare two models by it. Pure: no Airflow, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec

from vertex_tuning.evaluation.cases import MAX_CASES, SmokeCase, too_many
from vertex_tuning.evaluation.significance import examples_needed, score_gain, share_gain
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.report.names import value_label, value_texts
from vertex_tuning.report.rule_text import gain_text, wanted_gain
from vertex_tuning.results import Gain, PromotionRule
from vertex_tuning.text.plain_text import NAME_SHOWN, plain

LEAST_CONFIDENCE: Final = 0.5
"""A bound with this confidence is the bare number."""
MOST_CONFIDENCE: Final = 0.9999

ROUNDING: Final = 1e-9
"""Largest rounding error of the difference of two floats, as a share of the larger value."""


class RuleValue(msgspec.Struct, frozen=True):
    """The rule's value of one model.

    :param value: None if it is unknown
    :param scores: score of each example, from 0 to 1, whose mean is the value; empty if the value has no examples
    """

    value: float | None
    scores: Sequence[float] = ()

    @property
    def known(self) -> float | None:
        """The value, if it is a finite number."""
        return None if self.value is None or not math.isfinite(self.value) else self.value


class RuleResult(msgspec.Struct, frozen=True):
    """The rule's verdict on a new model.

    :param reasons: why the model is refused, or why it cannot be decided
    :param gain: None if the bare numbers were compared
    :param needed: number of examples that would decide; None if it is decided, or cannot be
    """

    verdict: Literal["better", "equal", "undecided", "refused"]
    reasons: list[str] = []
    gain: Gain | None = None
    needed: int | None = None


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
    if mistake := next(_number_mistakes(parsed), None):
        raise ConfigurationError(mistake)
    if mistake := too_many("rule.no_regression", parsed.no_regression, MAX_CASES):
        raise ConfigurationError(mistake)
    # `parse_cases` cleans the names of cases in this way.
    parsed = msgspec.structs.replace(parsed, no_regression=[plain(name, NAME_SHOWN) for name in parsed.no_regression])
    names = [case.name for case in cases] if cases is not None else parsed.no_regression
    if unknown := [name for name in parsed.no_regression if name not in names]:
        raise ConfigurationError(f"rule.no_regression: found {unknown[0]!r}, expected names of cases ({names}).")
    return parsed


def _number_mistakes(rule: PromotionRule) -> Iterator[str]:
    if not rule.value.strip():
        yield f"rule.value: found {rule.value!r}, expected the name of a value."
    if rule.min_gain is not None and not math.isfinite(rule.min_gain):
        yield f"rule.min_gain: found {rule.min_gain!r}, expected a finite number."
    if rule.confidence is not None and not LEAST_CONFIDENCE < rule.confidence <= MOST_CONFIDENCE:
        yield (
            f"rule.confidence: found {rule.confidence!r}, expected a number over {LEAST_CONFIDENCE} and at most "
            f"{MOST_CONFIDENCE}, or null to compare the bare numbers."
        )


def compare_models(rule: PromotionRule, new: RuleValue, old: RuleValue) -> RuleResult:
    """Compare a new model with the model in use, by the rule's value.

    :param rule: promotion rule of the tuning
    :param new: the new model
    :param old: the model in use, with scores of the same examples in the same order
    """
    if new.known is None or old.known is None:
        missing = (
            "both models" if new.known is old.known else "the new model" if new.known is None else "the model in use"
        )
        reason = f"{value_label(rule.value)}: unknown for {missing}, so the models cannot be compared."
        return RuleResult("refused", [reason])
    if rule.confidence is None or not new.scores or not old.scores:
        return _compare_numbers(rule, new.known, old.known)
    return _compare_scores(rule, new.scores, old.scores, rule.confidence)


def _compare_numbers(rule: PromotionRule, new: float, old: float) -> RuleResult:
    """Compare bare numbers, whose uncertainty is unknown."""
    gain, rounding = rule.gain(new, old), ROUNDING * max(abs(new), abs(old))
    if gain >= rule.least_gain(bounded=False) - rounding:
        return RuleResult("better" if gain > rounding else "equal")
    return RuleResult("refused", [f"{_both(rule, new, old)} {wanted_gain(rule, bounded=False)}"])


def _compare_scores(rule: PromotionRule, new: Sequence[float], old: Sequence[float], confidence: float) -> RuleResult:
    """Compare scores of the same examples, by the confidence bounds of their mean difference."""
    gain, least = _gain(rule, new, old, confidence), rule.least_gain(bounded=True)
    if rule.higher_is_better and not any(new) and not any(old):
        reason = f"{value_label(rule.value)}: 0 for both models in all {len(new)} examples, which shows nothing."
        return RuleResult("undecided", [reason], gain)
    if gain.lower >= least:
        return RuleResult("better" if gain.lower > 0 else "equal", gain=gain)
    found = f"{_both(rule, _mean(new), _mean(old))} {gain_text(rule.value, gain)}. {wanted_gain(rule, bounded=True)}"
    if gain.upper < least:
        return RuleResult("refused", [found], gain)
    needed = examples_needed(gain, least)
    return RuleResult("undecided", [found, _advice(len(new), needed)], gain, needed)


def _gain(rule: PromotionRule, new: Sequence[float], old: Sequence[float], confidence: float) -> Gain:
    first, second = (new, old) if rule.higher_is_better else (old, new)
    if {*new, *old} <= {0.0, 1.0}:
        return share_gain([bool(score) for score in first], [bool(score) for score in second], confidence)
    return score_gain(first, second, confidence)


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


def _both(rule: PromotionRule, new: float, old: float) -> str:
    new_text, old_text = value_texts(rule.value, new, old)
    return f"{value_label(rule.value)}: {new_text}, model in use {old_text}."


def _advice(examples: int, needed: int | None) -> str:
    if needed is None:
        return f"{examples} examples cannot tell, and the gain is too close to the limit for any sample."
    return f"{examples} examples cannot tell. About {needed:,} would, if the models go on to differ as often."
