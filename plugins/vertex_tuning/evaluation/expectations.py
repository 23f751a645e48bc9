"""Expectations of a model's answer, and the check of an answer against them. Pure.

Answers are hostile input and can be long. Regular expressions take linear time. JSON is decoded to a bounded depth.
References in a schema never cause a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from vertex_tuning.text.plain_text import plain, shorten

if TYPE_CHECKING:
    from jsonschema_rs import Validator

FOUND_SHOWN: Final = 200
"""Characters of an answer that a problem quotes."""

FinishReason = Literal[
    "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
    "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    "IMAGE_OTHER", "UNEXPECTED_TOOL_CALL", "NO_IMAGE", "MALFORMED_RESPONSE", "CONTINUATION", "TOO_MANY_TOOL_CALLS",
]  # fmt: skip
"""Reasons for which an answer can end: `Candidate.FinishReason` of the service's discovery document."""

EXPLAINED: Final[Mapping[str, str]] = {
    "MAX_TOKENS": "it was cut off at generation_config.max_output_tokens",
    "SAFETY": "the safety filters stopped it",
    "RECITATION": "it recited protected text",
    "BLOCKLIST": "it had a term of a blocklist in it",
    "PROHIBITED_CONTENT": "it had prohibited content in it",
    "SPII": "it had personal data in it",
}

NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]
NonEmptyTexts = NonEmpty | Annotated[list[NonEmpty], msgspec.Meta(min_length=1)]
Length = Annotated[int, msgspec.Meta(ge=1)]


class Reply(msgspec.Struct, frozen=True):
    """The response to a prompt.

    :param text: text of the answer without surrounding space; see :func:`~vertex_tuning.text.plain_text.storable`
    :param finish_reason: the service's name of the reason for which the answer ended; empty without an answer
    :param blocked: the service's reason for refusing the prompt; empty if the prompt was accepted
    :param latency: seconds from request to response
    :param tokens: number of tokens of prompt and answer
    """

    text: str = ""
    finish_reason: str = ""
    blocked: str = ""
    latency: float = 0.0
    tokens: int = 0


class Expectations(msgspec.Struct, frozen=True, kw_only=True):
    """Expectations of an answer. It must meet all that are set. If no expectation is set, it must only be complete.

    :param equals: the answer must be equal to this text; surrounding space does not count
    :param one_of: the answer must be equal to one of these texts; surrounding space does not count
    :param contains: the answer must contain this text, or all texts of a list
    :param not_contains: the answer must not contain this text, or any text of a list
    :param matches: the answer must have a match of this regular expression. The syntax is that of RE2 and Rust, without
        look-around and back-references. Use `^` and `$` to match the whole answer, and `(?i)` to ignore case.
    :param json_schema: the answer must be JSON that is valid under this schema; references only within the schema
    :param min_length: least number of characters
    :param max_length: greatest number of characters
    :param finish_reason: reason for which the answer must have ended, or a list of allowed reasons
    :param max_latency: greatest latency in seconds
    """

    equals: NonEmpty | None = None
    one_of: Annotated[list[NonEmpty], msgspec.Meta(min_length=1)] | None = None
    contains: NonEmptyTexts | None = None
    not_contains: NonEmptyTexts | None = None
    matches: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)] | None = None
    json_schema: dict[str, Any] | None = None
    min_length: Length | None = None
    max_length: Length | None = None
    finish_reason: FinishReason | Annotated[list[FinishReason], msgspec.Meta(min_length=1)] = "STOP"
    max_latency: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def __post_init__(self) -> None:
        """Check the fields against each other, the regular expression and the schema.

        :raises ValueError: a field is wrong; the message gives the field, its value and the expectation
        """
        if self.min_length and self.max_length and self.min_length > self.max_length:
            raise ValueError(f"min_length: found {self.min_length}, expected at most max_length, {self.max_length}")
        if self.matches is not None:
            _require("matches", _pattern(self.matches), "a regular expression without look-around and back-references")
        if self.json_schema is not None:
            _require("json_schema", self.json_schema, "a JSON schema with references only within itself")
        self._require_possible()

    def _require_possible(self) -> None:
        """Check that a response can meet all expectations at once.

        :raises ValueError: the expectations contradict each other
        """
        wanted = _listed(self.contains or ())
        for name in ("equals", "one_of"):
            if answers := _listed(getattr(self, name) or ()):
                self._require_allowed(name, answers)
        if too_long := [text for text in wanted if self.max_length and len(text) > self.max_length]:
            raise ValueError(
                f"max_length: found {self.max_length}, expected at least {len(too_long[0])}, for `contains`"
            )
        for text in _listed(self.not_contains or ()):
            if within := [other for other in wanted if text in other]:
                raise ValueError(f"not_contains: found {text!r}, which `contains` expects in {within[0]!r}")

    def _require_allowed(self, name: str, answers: Sequence[str]) -> None:
        """Check that the other expectations allow at least one of these answers.

        :param name: field that has these answers
        :raises ValueError: an answer is blank, or the other expectations allow no answer
        """
        if not all(text.strip() for text in answers):
            raise ValueError(f"{name}: found only spaces, expected a text: answers are compared without them")
        others = {check: getattr(self, check) for check in CHECKS if check not in (name, "max_latency")}
        given = {check: expected for check, expected in others.items() if expected is not None}
        problems = [
            next(
                filter(None, (CHECKS[check](expected, Reply(text=text.strip())) for check, expected in given.items())),
                "",
            )
            for text in answers
        ]
        if all(problems):
            found = plain(repr(answers[0]), FOUND_SHOWN)
            raise ValueError(f"{name}: found {found}, which another expectation refuses: {problems[0]}")

    def problem(self, reply: Reply) -> str:
        """Describe which expectations a response does not meet; empty if it meets all."""
        if unusable := _unusable(_listed(self.finish_reason), reply):
            return unusable
        expectations = {name: getattr(self, name) for name in CHECKS}
        problems = [CHECKS[name](expected, reply) for name, expected in expectations.items() if expected is not None]
        return "; ".join(filter(None, problems))


def _unusable(finish_reasons: Sequence[str], reply: Reply) -> str:
    if reply.blocked:
        return f"the prompt was blocked: {plain(reply.blocked, FOUND_SHOWN)}"
    if not reply.finish_reason:
        return "there was no answer: the service sent no candidate"
    if reply.finish_reason not in finish_reasons:
        why = f" ({EXPLAINED[reply.finish_reason]})" if reply.finish_reason in EXPLAINED else ""
        return f"expected the answer to end with {' or '.join(finish_reasons)}, found {reply.finish_reason}{why}"
    if reply.finish_reason == "STOP" and not reply.text:
        return "the answer was empty"
    return ""


def _equals(expected: str, reply: Reply) -> str:
    return _unless(reply.text == expected.strip(), repr(expected), reply)


def _one_of(expected: list[str], reply: Reply) -> str:
    fits = reply.text in [text.strip() for text in expected]
    return _unless(fits, f"one of {', '.join(map(repr, expected))}", reply)


def _contains(expected: str | list[str], reply: Reply) -> str:
    missing = [repr(text) for text in _listed(expected) if text not in reply.text]
    return _unless(not missing, f"{' and '.join(missing)} in it", reply)


def _not_contains(expected: str | list[str], reply: Reply) -> str:
    present = [repr(text) for text in _listed(expected) if text in reply.text]
    return _unless(not present, f"no {' and no '.join(present)} in it", reply)


def _matches(expected: str, reply: Reply) -> str:
    return _unless(_compiled(_pattern(expected)).is_valid(reply.text), f"something that matches {expected!r}", reply)


def _json_schema(expected: dict[str, Any], reply: Reply) -> str:
    try:
        value = msgspec.json.decode(reply.text)
    except (msgspec.DecodeError, RecursionError) as error:
        return _unless(False, f"JSON ({error})", reply)
    misfit = next(_compiled(expected).iter_errors(value), None)
    if misfit is None:
        return ""
    place = "".join(f"[{step!r}]" for step in misfit.instance_path)
    return f"expected JSON that fits the schema, found at ${place}: {plain(misfit.message, FOUND_SHOWN)}"


def _min_length(expected: int, reply: Reply) -> str:
    return _unless(len(reply.text) >= expected, f"at least {expected} characters", reply)


def _max_length(expected: int, reply: Reply) -> str:
    return _unless(len(reply.text) <= expected, f"at most {expected} characters", reply)


def _max_latency(expected: float, reply: Reply) -> str:
    in_time = reply.latency <= expected
    return "" if in_time else f"expected an answer within {expected:g} s, found {reply.latency:.3f} s"


CHECKS: Final[Mapping[str, Callable[[Any, Reply], str]]] = {
    "equals": _equals,
    "one_of": _one_of,
    "contains": _contains,
    "not_contains": _not_contains,
    "matches": _matches,
    "json_schema": _json_schema,
    "min_length": _min_length,
    "max_length": _max_length,
    "max_latency": _max_latency,
}
"""Check for each field of :class:`Expectations`: a function of expected value and response.

It returns a description of the problem, or an empty text.
"""


def _unless(fits: bool, expected: str, reply: Reply) -> str:
    size = f" ({len(reply.text)} characters)" if len(reply.text) > FOUND_SHOWN else ""
    return "" if fits else f"expected {expected}, found {shorten(reply.text, FOUND_SHOWN)!r}{size}"


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def _pattern(expression: str) -> dict[str, Any]:
    # Regular expressions of the schema library take linear time, so `matches` uses them as well.
    return {"pattern": expression}


def _require(field: str, schema: dict[str, Any], expected: str) -> None:
    try:
        _compiled(schema)
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{field}: found {plain(reason, FOUND_SHOWN)}, expected {expected}") from error


def _compiled(schema: dict[str, Any]) -> Validator:
    return _compiled_text(msgspec.json.encode(schema).decode())


@lru_cache(maxsize=256)
def _compiled_text(schema: str) -> Validator:
    # Imported here: Airflow parses a DAG file faster if its cases have no schema or regular expression.
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema, pattern_options=jsonschema_rs.RegexOptions(), offline=True)
