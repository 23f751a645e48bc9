"""The evidence in the demo's summary."""

from __future__ import annotations

from typing import Any

from include.local.summary import evidence_lines

GAIN = {
    "observed": 0.025, "lower": -0.00738, "upper": 0.0651, "confidence": 0.95, "examples": 120, "better": 4, "worse": 1,
}  # fmt: skip
SHARES = {"champion": 0.9167, "challenger": 0.9417, "baseline": 0.0}


def evaluation(verdict: str, **comparison: Any) -> dict[str, Any]:
    found = {"rule": {"value": "sample.exact_share"}, "values": {"sample.exact_share": SHARES}, "gain": GAIN}
    return {"verdict": verdict, "reasons": [], "champion": {"model": "m"}, "comparison": {**found, **comparison}}


def test_verdict_gain_and_models_are_three_lines() -> None:
    assert evidence_lines(evaluation("equal"), promoted=True) == [
        "Not worse than the current model. The new model is in use now.",
        "Gain +0.025, bounds -0.007 and +0.065 with 95 % confidence each, in 120 examples",
        "sample.exact_share: base model 0 → current model 0.9167 → new model 0.9417",
    ]


def test_an_undecided_comparison_says_why_after_them() -> None:
    why = "120 examples cannot tell. About 900 would, if the models go on to differ as often."
    lines = evidence_lines({**evaluation("undecided"), "reasons": [why]}, promoted=False)
    assert lines[0] == "Undecided: the sample cannot tell. The current model stays in use."
    assert lines[3:] == [why]
    assert evidence_lines(evaluation("undecided"), promoted=True)[0].endswith("The new model is in use now.")


def test_a_first_model_has_no_gain_and_one_alone_has_no_comparison() -> None:
    first = evaluation("first", gain=None, values={"sample.exact_share": {**SHARES, "champion": None}})
    assert evidence_lines({**first, "champion": None}, promoted=True) == [
        "First model: nothing to compare with. The new model is in use now.",
        "sample.exact_share: base model 0 → new model 0.9417",
    ]
    alone = evaluation("first", gain=None, values={"sample.exact_share": {"champion": None, "challenger": 1.0}})
    alone["comparison"]["values"]["sample.exact_share"]["baseline"] = None
    assert len(evidence_lines({**alone, "champion": None}, promoted=False)) == 1


def test_bare_numbers_have_no_interval() -> None:
    losses = {"champion": 0.5, "challenger": 0.4, "baseline": None}
    found = evaluation(
        "better", gain=None, rule={"value": "eval_total_loss.last"}, values={"eval_total_loss.last": losses}
    )
    assert evidence_lines(found, promoted=True)[1:] == ["eval_total_loss.last: current model 0.5 → new model 0.4"]
    assert len(evidence_lines(evaluation("refused", gain=None, rule=None, values={}), promoted=False)) == 1
