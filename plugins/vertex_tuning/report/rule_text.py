"""The promotion rule and the gain of a new model as sentences."""

from __future__ import annotations

from vertex_tuning.report.names import change_text, is_share
from vertex_tuning.results import Gain, PromotionRule
from vertex_tuning.scores import WinRate


def wanted_gain(rule: PromotionRule, *, bounded: bool) -> str:
    """The requirement of the rule, as a sentence.

    :param rule: promotion rule of the tuning
    :param bounded: whether the lower confidence bound of the gain must reach the limit, or the bare difference
    """
    least = rule.least_gain(bounded=bounded)
    size = change_text(rule.value, abs(least))
    better, worse = ("higher", "lower") if rule.higher_is_better else ("lower", "higher")
    limit = f"at least {size} {better}" if least > 0 else f"at most {size} {worse}" if least < 0 else "no worse"
    return f"The new model must be shown to be {limit}." if bounded else f"The new model must be {limit}."


def gain_text(name: str, gain: Gain) -> str:
    """The gain with its confidence bounds, without a full stop.

    :param name: name of the value, e.g. `sample.exact_share`
    """
    lower, upper = signed_number(name, gain.lower), signed_number(name, gain.upper)
    bounds = f"lower bound {lower}, upper bound {upper}, each with {gain.confidence * 100:.4g} % confidence"
    return f"Gain {signed_change(name, gain.observed)} ({bounds})"


def gain_counts(gain: Gain) -> str:
    """In how many examples the models differ, as sentences."""
    if gain.p_value is None:
        return (
            f"Of {gain.examples:,} examples, the new model scores higher in {gain.better:,}, lower in {gain.worse:,}."
        )
    return (
        f"Of {gain.examples:,} examples, only the new model is right in {gain.better:,}, only the model in use in "
        f"{gain.worse:,}. Exact McNemar test: p = {gain.p_value:.2g}."
    )


def signed_number(name: str, value: float) -> str:
    """A gain or its bound as a number with its sign, in percentage points for shares: `+2`, `-0.6`, `0`.

    :param name: name of the value, e.g. `sample.exact_share`
    """
    number = round(value * (100 if is_share(name) else 1), 6)
    return f"{number:+.3g}" if number else "0"


def win_rate_text(rate: WinRate) -> str:
    """How often a judge prefers the new model, with the confidence bounds, as a sentence."""
    pairs = f"{rate.wins} for the new model, {rate.losses} for the other, {rate.ties} ties"
    share, lower, upper = (f"{part * 100:.3g} %" for part in (rate.observed, rate.lower, rate.upper))
    bounds = f"lower bound {lower}, upper bound {upper}, each with {rate.confidence * 100:.4g} % confidence"
    return f"The judge's choices: {pairs}. Win rate {share} ({bounds}); a tie counts half."


def signed_change(name: str, value: float) -> str:
    """A difference of two values with its sign: `+2 percentage points`, `-0.02`.

    :param name: name of the values
    """
    rounded = float(f"{value:.2g}") if abs(value) < 1e-3 else round(value, 4)
    sign = "+" if rounded > 0 else "-" if rounded < 0 else ""
    return f"{sign}{change_text(name, abs(rounded))}"
