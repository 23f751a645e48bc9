"""Every kind of gate, every outcome."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.evaluation.gates import LIMITS, OnMissing, check_gates, gate_table, parse_gates
from vertex_tuning.exceptions import ConfigurationError

VALUES = {"eval_total_loss.last": 0.5, "sample.exact_share": 0.9, "overfitting": 0.0}
CHAMPION = {"eval_total_loss.last": 0.48, "sample.exact_share": 0.8}

numbers = st.floats(-1e6, 1e6)


def verdict(gate: dict[str, Any], champion: dict[str, float] | None = None, on_missing: OnMissing = "fail") -> str:
    (result,) = check_gates(parse_gates([gate]), VALUES, champion, on_missing)
    return result.verdict


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"value": "sample.exact_share", "min": 0.8}, "passed"),
        ({"value": "sample.exact_share", "min": 0.9}, "passed"),
        ({"value": "sample.exact_share", "min": 0.91}, "failed"),
        ({"value": "eval_total_loss.last", "max": 0.6}, "passed"),
        ({"value": "eval_total_loss.last", "max": 0.5}, "passed"),
        ({"value": "eval_total_loss.last", "max": "0.4"}, "failed"),
        ({"value": "overfitting", "max": 0}, "passed"),
        ({"value": "eval_total_loss.last", "max_increase": 0.02}, "passed"),
        ({"value": "eval_total_loss.last", "max_increase": 0.01}, "failed"),
        ({"value": "eval_total_loss.last", "max_decrease": 0}, "passed"),
        ({"value": "sample.exact_share", "max_decrease": 0}, "passed"),
        ({"value": "sample.exact_share", "max_decrease": -0.2}, "failed"),  # at least 0.2 better
        ({"value": "sample.exact_share", "max_decrease": -0.1}, "passed"),
        ({"value": "nowhere", "min": 0}, "missing"),
        ({"value": "overfitting", "max_increase": 0}, "missing"),  # of the model in use
        ({"value": "nowhere", "max_increase": 0}, "missing"),
    ],
)
def test_outcomes(gate: dict[str, Any], expected: str) -> None:
    assert verdict(gate, CHAMPION) == expected


@pytest.mark.parametrize(
    "gate", [{"value": "eval_total_loss.last", "max_increase": -9}, {"value": "x", "max_decrease": 0}]
)
def test_without_a_model_in_use_a_change_limits_nothing(gate: dict[str, Any]) -> None:
    (result,) = check_gates(parse_gates([gate]), VALUES, None)
    assert result.passed
    assert "no model in use" in result.limit


@pytest.mark.parametrize("gate", [{"value": "x", "min": 0}, {"value": "overfitting", "max_increase": 0}])
def test_a_missing_value_may_be_allowed(gate: dict[str, Any]) -> None:
    assert verdict(gate, CHAMPION) == "missing"
    assert verdict(gate, CHAMPION, "pass") == "passed"


def test_a_value_that_is_no_number_is_missing() -> None:
    (result,) = check_gates(parse_gates([{"value": "loss", "max": 1}]), {"loss": math.nan}, None)
    assert (result.verdict, result.found) == ("missing", None)


def test_the_table() -> None:
    gates = parse_gates(
        [
            {"value": "overfitting", "max": 0},
            {"value": "eval_total_loss.last", "max_increase": 0.01},
            {"value": "loss", "min": 1},
        ]
    )
    assert gate_table(check_gates(gates, VALUES, CHAMPION)).splitlines() == [
        "gate                  value    limit                                             verdict",
        "--------------------  -------  ------------------------------------------------  ---------",
        "overfitting           0        at most 0                                         passed",
        "eval_total_loss.last  0.5      at most 0.01 higher than the model in use (0.48)  failed",
        "loss                  -        at least 1                                        missing",
    ]


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ({"value": "x"}, r"gates: found \{'value': 'x'\}, expected a list"),
        (["x"], r"gates\[0\]: found 'x', expected fields"),
        ([{"value": "x", "min": 1}, {"min": 1}], r"gates\[1\]\.value: found None, expected a name"),
        ([{"value": 3, "min": 1}], r"gates\[0\]\.value: found 3, expected a name"),
        ([{"value": "x"}], r"gates\[0\] \(x\): found none, expected exactly one of min, max, max_increase"),
        ([{"value": "x", "min": 1, "max": 2}], r"gates\[0\] \(x\): found min and max, expected exactly one"),
        ([{"value": "x", "maximum": 2}], r"gates\[0\]\.maximum: unknown field, expected value and one of min, max"),
        ([{"value": "x", "max": "low"}], r"gates\[0\]\.max: found 'low', expected a finite number"),
        ([{"value": "x", "max": True}], r"gates\[0\]\.max: found True, expected a finite number"),
        ([{"value": "x", "max": [1]}], r"gates\[0\]\.max: found \[1\], expected a finite number"),
        ([{"value": "x", "min": math.inf}], r"gates\[0\]\.min: found inf, expected a finite number"),
        ([{"value": "x", "min": 10**400}], r"gates\[0\]\.min: found 1000.*, expected a finite number"),
    ],
)
def test_mistakes_are_named(gates: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_gates(gates)


@given(value=numbers, limit=numbers)
def test_each_value_is_within_min_or_max_and_both_only_when_equal(value: float, limit: float) -> None:
    gates = parse_gates([{"value": "v", "min": limit}, {"value": "v", "max": limit}])
    least, most = (one.passed for one in check_gates(gates, {"v": value}, None))
    assert least or most
    assert (least and most) == (value == pytest.approx(limit, rel=1e-9, abs=0))


@given(value=numbers, change=numbers, kind=st.sampled_from(LIMITS[2:]))
def test_a_change_of_exactly_the_limit_passes(value: float, change: float, kind: str) -> None:
    champion = value - change if kind == "max_increase" else value + change
    (result,) = check_gates(parse_gates([{"value": "v", kind: change}]), {"v": value}, {"v": champion})
    assert result.passed


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["value", *LIMITS]) | st.text(), inner),
    )
)
def test_whatever_is_given_is_gates_or_a_named_mistake(given: Any) -> None:
    with contextlib.suppress(ConfigurationError):
        assert len(parse_gates(given)) == len(given)


@pytest.mark.parametrize(
    ("gate", "limit"),
    [
        ({"value": "smoke.pass_share", "min": 0.8}, "at least 80 %"),
        (
            {"value": "sample.exact_share", "max_decrease": 0.02},
            "at most 2 percentage points lower than the model in use (96 %)",
        ),
        ({"value": "loss", "max_increase": -0.1}, "at least 0.1 lower than the model in use (0.5)"),
        ({"value": "loss", "max_decrease": -0.1}, "at least 0.1 higher than the model in use (0.5)"),
        ({"value": "x", "max_increase": 1}, "at most 1 higher than the model in use (unknown)"),
    ],
)
def test_limits_in_words(gate: dict[str, Any], limit: str) -> None:
    (result,) = check_gates(parse_gates([gate]), {}, {"sample.exact_share": 0.96, "loss": 0.5})
    assert result.limit == limit
