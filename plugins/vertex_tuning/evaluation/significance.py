"""How sure the gain of a new model is: confidence bounds of a paired difference. Pure.

Both models answer the same examples, so the two results of an example belong together. Examples on which the models
agree say nothing about the gain, but a bound that leaves them out is too optimistic.

Shares (right or wrong answers) use the score interval of T. Tango, "Equivalence test and confidence interval for the
difference in proportions for the paired-sample design", Statistics in Medicine 17 (1998), 891-908. It holds its level
at small samples and without any disagreement. The p-value is the exact McNemar test's.

Graded scores use a paired bootstrap (BCa; B. Efron, "Better bootstrap confidence intervals", Journal of the American
Statistical Association 82 (1987), 171-185), widened to what Tango's interval gives for a sample without disagreement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from vertex_tuning.results import Gain

MAX_EXAMPLES: Final = 10_000_000
"""Beyond this number of examples a sample counts as one that never decides."""

RESAMPLES: Final = 9999
"""Bootstrap samples; the default of `scipy.stats.bootstrap`."""
SEED: Final = 20_260_301
"""Makes the bootstrap give the same bounds in each attempt of a task."""


def share_gain(new: Sequence[bool], old: Sequence[bool], confidence: float) -> Gain:
    """Compare shares of right answers.

    :param new: results of the new model, one per example
    :param old: results of the model in use on the same examples, in the same order
    :param confidence: one-sided confidence of each bound, over 0.5 and under 1
    :raises ValueError: the two differ in length, or are empty
    """
    pairs = list(zip(new, old, strict=True))
    if not pairs:
        raise ValueError("expected at least one example")
    better = sum(ours and not theirs for ours, theirs in pairs)
    worse = sum(theirs and not ours for ours, theirs in pairs)
    lower, upper = tango_bounds(better, worse, len(pairs), confidence)
    return Gain(
        observed=(better - worse) / len(pairs),
        lower=lower,
        upper=upper,
        confidence=confidence,
        examples=len(pairs),
        better=better,
        worse=worse,
        p_value=_mcnemar(better, worse),
    )


def score_gain(new: Sequence[float], old: Sequence[float], confidence: float) -> Gain:
    """Compare means of graded scores from 0 to 1.

    :param new: scores of the new model, one per example
    :param old: scores of the model in use on the same examples, in the same order
    :param confidence: one-sided confidence of each bound, over 0.5 and under 1
    :raises ValueError: the two differ in length, or are empty
    """
    differences = [ours - theirs for ours, theirs in zip(new, old, strict=True)]
    if not differences:
        raise ValueError("expected at least one example")
    observed = math.fsum(differences) / len(differences)
    least = -tango_bounds(0, 0, len(differences), confidence)[0]
    lower, upper = observed - least, observed + least
    if len(set(differences)) > 1:
        low, high = _bootstrap(new, old, confidence)
        lower, upper = min(lower, low), max(upper, high)
    return Gain(
        observed=observed,
        lower=max(lower, -1.0),
        upper=min(upper, 1.0),
        confidence=confidence,
        examples=len(differences),
        better=sum(difference > 0 for difference in differences),
        worse=sum(difference < 0 for difference in differences),
    )


def tango_bounds(better: float, worse: float, examples: float, confidence: float) -> tuple[float, float]:
    """One-sided confidence bounds of a paired difference of shares, by Tango's score interval.

    :param better: examples on which only the new model is right; need not be whole
    :param worse: examples on which only the model in use is right
    :param examples: all examples
    :param confidence: of each bound
    :returns: the lower and the upper bound, from -1 to 1
    """
    z = _quantile(confidence)
    return _lower_bound(better, worse, examples, z), -_lower_bound(worse, better, examples, z)


def examples_needed(gain: Gain, min_gain: float) -> int | None:
    """Number of examples that would decide, if the models went on to disagree as they did here.

    :param gain: what the sample showed
    :param min_gain: the gain that the lower bound must reach
    :returns: the number at which one of the bounds passes `min_gain`; None when the gain lies on it, or beyond ten
        million examples
    """
    return _scores_needed(gain, min_gain) if gain.p_value is None else _results_needed(gain, min_gain)


def _scores_needed(gain: Gain, min_gain: float) -> int | None:
    """Number of graded scores: the distance of a bound to the gain shrinks with the root of the sample."""
    excess = gain.observed - min_gain
    distance = gain.observed - gain.lower if excess > 0 else gain.upper - gain.observed
    if abs(excess) * math.sqrt(MAX_EXAMPLES / gain.examples) <= distance:
        return None
    return max(math.ceil(gain.examples * (distance / excess) ** 2), gain.examples + 1)


def _results_needed(gain: Gain, min_gain: float) -> int | None:
    """Number of right and wrong answers."""
    better, worse = (count / gain.examples for count in (gain.better, gain.worse))
    if better - worse == min_gain:
        return None

    def decides(examples: int) -> bool:
        lower, upper = tango_bounds(better * examples, worse * examples, examples, gain.confidence)
        return lower >= min_gain or upper < min_gain

    enough = gain.examples
    while not decides(enough):
        enough *= 2
        if enough > MAX_EXAMPLES:
            return None
    too_few = gain.examples if enough == gain.examples else enough // 2
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (too_few, middle) if decides(middle) else (middle, enough)
    return enough


def least_examples(min_gain: float, confidence: float) -> int:
    """Smallest sample of right and wrong answers on which the lower bound can reach a gain.

    Below 0 it is the sample on which two models that never differ are enough: their bound is -z²/(n + z²). From 0 on
    it is the sample on which only the new model is ever right: its bound is (n - z²)/(n + z²). Both follow from Tango's
    interval.

    :param min_gain: the gain that the lower bound must reach, over -1 and under 1
    :param confidence: of the lower bound
    """
    z2 = _quantile(confidence) ** 2
    needed = z2 * (1 / -min_gain - 1) if min_gain < 0 else z2 * (1 + min_gain) / (1 - min_gain)
    return math.ceil(needed - 1e-9)


def _quantile(confidence: float) -> float:
    # Imported here: DAG files load this module, and `statistics` takes a hundredth of a second.
    from statistics import NormalDist

    return NormalDist().inv_cdf(confidence)


def _lower_bound(better: float, worse: float, examples: float, z: float) -> float:
    # Imported here: scipy takes a tenth of a second to load.
    from scipy.optimize import brentq

    observed = (better - worse) / examples

    def excess(gain: float) -> float:
        """How much the observed difference exceeds what chance allows for, were this the true gain."""
        b = -better - worse + (2 * examples - better + worse) * gain
        root = math.sqrt(max(b * b + 8 * examples * worse * gain * (1 - gain), 0.0))
        disagreement = 2 * (root - b) / (4 * examples) + gain * (1 - gain)
        return better - worse - examples * gain - z * math.sqrt(max(examples * disagreement, 0.0))

    just_below = observed - 1e-9
    if just_below <= -1 or excess(just_below) >= 0:
        return observed
    return float(brentq(excess, -1.0, just_below, xtol=1e-12))


def _mcnemar(better: int, worse: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _bootstrap(new: Sequence[float], old: Sequence[float], confidence: float) -> tuple[float, float]:
    import numpy as np
    from scipy.stats import bootstrap

    def mean_difference(ours: object, theirs: object, axis: int) -> object:
        return np.mean(ours, axis=axis) - np.mean(theirs, axis=axis)  # type: ignore[call-overload]

    found = bootstrap(
        (np.asarray(new, float), np.asarray(old, float)),
        mean_difference,
        paired=True,
        vectorized=True,
        # The two ends of this interval are one-sided bounds of the given confidence.
        confidence_level=2 * confidence - 1,
        n_resamples=RESAMPLES,
        batch=100,
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
