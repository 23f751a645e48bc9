"""What `make bench-promotion` measures, with fewer comparisons: the promises about the default rule."""

from __future__ import annotations

from tests.bench_promotion import missed, simulate, verdict


def test_models_of_known_quality_are_promoted_as_promised() -> None:
    agreement, examples = 0.90, 500
    shares = {(agreement, examples, gain): simulate(agreement, examples, gain, 500) for gain in (-0.05, -0.02, 0.05)}
    assert shares[agreement, examples, -0.05]["promoted"] <= 0.01
    assert shares[agreement, examples, -0.02]["promoted"] <= 0.08
    assert shares[agreement, examples, 0.05]["promoted"] >= 0.95
    assert simulate(0.95, examples, 0.0, 500)["promoted"] >= 0.5


def test_a_small_sample_promotes_no_worse_model() -> None:
    assert simulate(0.90, 20, -0.05, 500)["promoted"] <= 0.06
    assert verdict(0, 0, 20) == "undecided"


def test_a_missed_promise_is_named() -> None:
    shares = {(0.9, 500, -0.05): {"promoted": 0.2, "undecided": 0.8, "refused": 0.0}}
    assert missed(shares)[0] == "-5%, agreement 90%, n = 500: promoted 20.0%"
