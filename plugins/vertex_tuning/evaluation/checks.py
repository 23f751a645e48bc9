"""Check cases, gates and the promotion rule before a job costs money. Pure.

Each function names the field of every mistake. Values that only a run knows, e.g. templates, are checked in the run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vertex_tuning.evaluation.cases import (
    MAX_CASES,
    SmokeCase,
    Turn,
    parse_cases,
    too_many,
)
from vertex_tuning.evaluation.gates import CHANGES, LIMITS, MAX_GATES, Gate, parse_gate
from vertex_tuning.evaluation.generation_settings import GenerationSettings, Thinking, parse_settings
from vertex_tuning.evaluation.promotion_rule import parse_rule
from vertex_tuning.evaluation.value_names import (
    EXACT_SHARE,
    impossible_limit,
    needs_baseline,
    needs_sample,
    unknown_value,
)
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.results import PromotionRule
from vertex_tuning.text.suggestions import nearest
from vertex_tuning.text.templates import is_known_now

ON_REFUSED: Final = ("fail", "skip")
"""Actions of a run whose model is refused."""
ON_UNDECIDED: Final = ("keep", "promote")
"""Actions of a run whose comparison is undecided."""

CASE_FIELDS: Final = tuple(
    dict.fromkeys(field for kind in (SmokeCase, GenerationSettings, Thinking, Turn) for field in kind.__struct_fields__)
)

_UNKNOWN: Final = re.compile(r"unknown field `(.*?)`\.?|(?<=\.)(\w+): unknown field")


def case_mistakes(cases: Sequence[Any]) -> Iterator[str]:
    """Mistakes in the cases of a smoke test."""
    if mistake := too_many("smoke_test.cases", cases, MAX_CASES):
        yield mistake
        return
    known = [(index, case) for index, case in enumerate(cases) if is_known_now(case)]
    for index, case in known:
        try:
            parse_cases([case])
        except ConfigurationError as error:
            yield _with_advice(str(error).replace("cases[0]", f"cases[{index}]", 1), CASE_FIELDS)
    names = [case["name"] for _, case in known if isinstance(case, Mapping) and isinstance(case.get("name"), str)]
    for name, times in sorted(Counter(filter(None, names)).items()):
        if times > 1:
            yield f"smoke_test.cases: found the name {name!r} {times} times, expected unique names."


def gate_mistakes(gates: Sequence[Any]) -> Iterator[str]:
    """Mistakes in gates."""
    if mistake := too_many("gates", gates, MAX_GATES):
        yield mistake
        return
    for index, gate in enumerate(gates):
        if not is_known_now(gate):
            continue
        try:
            parsed = parse_gate(f"gates[{index}]", gate)
        except ConfigurationError as error:
            yield _with_advice(str(error), ("value", *LIMITS))
        else:
            yield from filter(None, [unknown_value(f"gates[{index}].value", parsed.value)])
            yield from filter(None, [_impossible_gate(f"gates[{index}].{parsed.kind}", parsed)])


def _impossible_gate(field: str, gate: Gate) -> str:
    if gate.kind in CHANGES and needs_baseline(gate.value):
        return f"{field}: expected min or max: the model in use has no value {gate.value}."
    return impossible_limit(field, gate.value, gate.limit, is_change=gate.kind in CHANGES)


def rule_mistakes(rule: Any, cases: Sequence[Any] | None = None) -> Iterator[str]:
    """Mistakes in the promotion rule.

    :param cases: cases of the smoke test; None if the rule is not compared with them
    """
    if not is_known_now(rule):
        return
    try:
        known = cases is not None and len(cases) <= MAX_CASES and is_known_now(cases)
        named = parse_cases(list(cases or ())) if known else None
    except ConfigurationError:
        named = None  # `case_mistakes` reports it
    try:
        parsed = parse_rule(rule, named)
    except ConfigurationError as error:
        yield _with_advice(str(error), PromotionRule.__struct_fields__)
    else:
        yield from filter(None, [_wrong_rule_value(parsed.value), _impossible_gain(parsed)])


def _wrong_rule_value(name: str) -> str:
    if needs_baseline(name):
        return (
            f"rule.value: found {name!r}, expected a value that the model in use has, too, e.g. {EXACT_SHARE}; a gate "
            "can limit the gain over the base model."
        )
    return unknown_value("rule.value", name)


def _impossible_gain(rule: PromotionRule) -> str:
    if rule.min_gain is None:
        return ""
    if rule.confidence and needs_sample(rule.value) and rule.min_gain == 1:
        return f"rule.min_gain: found {rule.min_gain:g}, expected less than 1, which no lower confidence bound reaches."
    return impossible_limit("rule.min_gain", rule.value, rule.min_gain, is_change=True)


def settings_mistakes(settings: Mapping[str, Any]) -> Iterator[str]:
    """Mistakes in the `generation_config` of an evaluation."""
    if not is_known_now(settings):
        return
    try:
        parse_settings(settings)
    except ConfigurationError as error:
        yield _with_advice(str(error), (*GenerationSettings.__struct_fields__, *Thinking.__struct_fields__))


def share_mistake(field: str, share: Any) -> str:
    """Error message for an invalid share of answers; empty if it is valid. NaN is not: every model would pass."""
    if share is None or (isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1):
        return ""
    return f"{field}: found {share!r}, expected a number from 0 to 1."


def _with_advice(mistake: str, fields: Sequence[str]) -> str:
    """The mistake, with a similar name for an unknown field."""
    found = _UNKNOWN.search(mistake)
    near = nearest(found[1] or found[2], fields) if found else None
    return f"{mistake.rstrip('.')}; did you mean `{near}`?" if near else mistake
