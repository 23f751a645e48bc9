"""Gates: limits that the values of a new model must keep before it is used. Pure.

A gate is one limit on one value: `{"value": "eval_total_loss.last", "max": 0.5}`. Limits are `min` and `max`, and
`max_increase` and `max_decrease` relative to the same value of the model in use. The difference is absolute; a limit
below 0 requires an improvement. Values come from the metrics of the job and from the smoke test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.report.names import change_text, value_text
from vertex_tuning.results import GateResult, GateVerdict

Limit = Literal["min", "max", "max_increase", "max_decrease"]
OnMissing = Literal["fail", "pass"]

LIMITS: Final[tuple[Limit, ...]] = ("min", "max", "max_increase", "max_decrease")
ON_MISSING: Final[tuple[OnMissing, ...]] = ("fail", "pass")
MAX_GATES: Final = 100
"""Most gates of a tuning: it has fewer values to limit."""
CHANGES: Final = ("max_increase", "max_decrease")


class Gate(msgspec.Struct, frozen=True):
    """A limit on a value.

    :param value: name of the value, e.g. `eval_total_loss.last` or `overfitting`
    """

    value: str
    kind: Limit
    limit: float


def parse_gates(gates: list[dict[str, Any]]) -> list[Gate]:
    """Parse all gates of a tuning.

    :param gates: content of the YAML file; a number may be rendered text
    :raises ConfigurationError: names index and field, the value found and what is expected
    """
    if not isinstance(gates, list):
        raise ConfigurationError(f"gates: found {gates!r}, expected a list such as [{{value: overfitting, max: 0}}].")
    return [parse_gate(f"gates[{index}]", gate) for index, gate in enumerate(gates)]


def parse_gate(where: str, gate: Any) -> Gate:
    """Parse one gate.

    :param where: position of the gate, e.g. `gates[0]`
    :raises ConfigurationError: names position and field, the value found and what is expected
    """
    if not isinstance(gate, Mapping):
        raise ConfigurationError(f"{where}: found {gate!r}, expected fields such as value: and max:.")
    if unknown := [str(field) for field in gate if field not in ("value", *LIMITS)]:
        raise ConfigurationError(f"{where}.{unknown[0]}: unknown field, expected value and one of {', '.join(LIMITS)}.")
    name, limits = gate.get("value"), [kind for kind in LIMITS if gate.get(kind) is not None]
    if not isinstance(name, str) or not name.strip():
        raise ConfigurationError(f"{where}.value: found {name!r}, expected a name such as 'eval_total_loss.last'.")
    if len(limits) != 1:
        found = " and ".join(limits) or "none"
        raise ConfigurationError(f"{where} ({name}): found {found}, expected exactly one of {', '.join(LIMITS)}.")
    return Gate(name.strip(), limits[0], _limit(f"{where}.{limits[0]}", gate[limits[0]]))


def check_gates(
    gates: Iterable[Gate],
    values: Mapping[str, float],
    champion_values: Mapping[str, float] | None,
    on_missing: OnMissing = "fail",
) -> list[GateResult]:
    """Check the values of the new model against each gate, in order.

    :param champion_values: values of the model in use; None if no model is in use: relative limits then pass
    :param on_missing: whether a gate fails or passes if its value is missing for either model
    """
    return [_check(gate, values, champion_values, on_missing) for gate in gates]


def gate_table(results: Iterable[GateResult]) -> str:
    """The results as text, for a log or an error."""
    return text_table(
        ("gate", "value", "limit", "verdict"), [(gate.value, gate.found, gate.limit, gate.verdict) for gate in results]
    )


def _limit(where: str, found: Any) -> float:
    try:
        limit = math.nan if isinstance(found, bool) else float(found)
    except (TypeError, ValueError, OverflowError):
        limit = math.nan
    if not math.isfinite(limit):
        raise ConfigurationError(f"{where}: found {found!r}, expected a finite number.")
    return limit


def _check(
    gate: Gate, values: Mapping[str, float], champion_values: Mapping[str, float] | None, on_missing: OnMissing
) -> GateResult:
    found = _known(values, gate.value)
    in_use = _known(champion_values or {}, gate.value)
    verdict: GateVerdict
    if gate.kind in CHANGES and champion_values is None:
        verdict = "passed"
    elif found is None or (gate.kind in CHANGES and in_use is None):
        verdict = "missing" if on_missing == "fail" else "passed"
    else:
        verdict = "passed" if _within(gate, found, in_use or 0.0) else "failed"
    return GateResult(gate.value, found, _words(gate, champion_values is not None, in_use), verdict)


def _within(gate: Gate, found: float, in_use: float) -> bool:
    """Whether a value keeps a limit: an equal value does, also with a rounding error of the subtraction."""
    excess = {
        "min": gate.limit - found,
        "max": found - gate.limit,
        "max_increase": found - in_use - gate.limit,
        "max_decrease": in_use - found - gate.limit,
    }[gate.kind]
    return excess <= 1e-9 * max(abs(found), abs(in_use), abs(gate.limit))


def _known(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return None if value is None or not math.isfinite(value) else float(value)


def _words(gate: Gate, has_champion: bool, in_use: float | None) -> str:
    if gate.kind == "min":
        return f"at least {value_text(gate.value, gate.limit)}"
    if gate.kind == "max":
        return f"at most {value_text(gate.value, gate.limit)}"
    higher = (gate.kind == "max_increase") is (gate.limit >= 0)
    bound, direction = "at most" if gate.limit >= 0 else "at least", "higher" if higher else "lower"
    against = (
        f"the model in use ({value_text(gate.value, in_use)})"
        if has_champion
        else "a model in use (no model in use yet)"
    )
    return f"{bound} {change_text(gate.value, abs(gate.limit))} {direction} than {against}"
