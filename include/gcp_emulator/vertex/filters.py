"""List filters: the useful subset of https://google.aip.dev/160.

Comparisons (`=`, `!=`, `<`, `<=`, `>`, `>=`, `:`) of a field with a value, joined by AND (or nothing), OR, NOT, `-` and
parentheses; OR binds tighter than AND, as AIP-160 says. `field:*` tests whether the field is set. `*` in a
value stands for any text.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final

from ..errors import InvalidArgument
from ..names import canonical
from ..state import Resource
from .proto_json import camel

Predicate = Callable[[Resource], bool]

MAX_LENGTH: Final = 4096
_TOKEN = re.compile(r"""\s*(?:("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(!=|<=|>=|[=<>:()-])|([^\s"'=!<>:(),]+))""")
_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_filter(text: str, fields: Iterable[str]) -> Predicate:
    """Compile a filter of a list request to a predicate on resources.

    :param text: the filter; an empty filter matches everything
    :param fields: first parts of the names that may be compared, camelCase ("state", "labels")
    :raises InvalidArgument: the filter cannot be parsed or names another field
    """
    if len(text) > MAX_LENGTH:
        raise InvalidArgument(f"Invalid filter: longer than {MAX_LENGTH} characters.")
    if not text.strip():
        return lambda _: True
    parser = _Parser(text, frozenset(fields))
    predicate = parser.expression()
    if parser.peek():
        raise parser.error(f"unexpected {parser.peek()!r}")
    return predicate


class _Parser:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self.text = text
        self.fields = fields
        self.tokens = self._tokens(text.rstrip())
        self.depth = 0

    def _tokens(self, text: str) -> list[str]:
        tokens, position = [], 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self.error(f"unexpected {text[position]!r}")
            tokens.append(match[match.lastindex or 0])
            position = match.end()
        return tokens

    def error(self, why: str) -> InvalidArgument:
        return InvalidArgument(f"Invalid filter {self.text!r}: {why}.")

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self) -> str:
        if not self.tokens:
            raise self.error("unexpected end")
        return self.tokens.pop(0)

    def expression(self) -> Predicate:
        terms = [self.factor()]
        while self.peek() and self.peek() != ")":
            if self.peek() == "AND":
                self.take()
            terms.append(self.factor())
        return lambda resource: all(term(resource) for term in terms)

    def factor(self) -> Predicate:
        terms = [self.term()]
        while self.peek() == "OR":
            self.take()
            terms.append(self.term())
        return lambda resource: any(term(resource) for term in terms)

    def term(self) -> Predicate:
        if self.peek() in ("NOT", "-"):
            self.take()
            inner = self.simple()
            return lambda resource: not inner(resource)
        return self.simple()

    def simple(self) -> Predicate:
        if self.peek() != "(":
            return self.restriction()
        self.depth += 1
        if self.depth > 50:
            raise self.error("nested too deeply")
        self.take()
        inner = self.expression()
        if self.take() != ")":
            raise self.error("missing ')'")
        return inner

    def restriction(self) -> Predicate:
        field = self.take()
        if self.peek() == "(":
            return self.call(field)
        op = self.take()
        if op not in {"=", "!=", ":", *_ORDER}:
            raise self.error(f"expected a comparison after {field!r}")
        path = self.path(field)
        value = self.value()
        return lambda resource: _compare(op, _lookup(resource, path), value)

    def call(self, function: str) -> Predicate:
        """`in_context("NAME")`, the only supported function of the Metadata service's filters."""
        self.take()
        value = self.value()
        if camel(function) not in self.fields or self.take() != ")":
            raise self.error(f"unknown function {function!r}")
        return lambda resource: _compare(":", resource.get(camel(function)), value)

    def path(self, field: str) -> list[str]:
        first, *rest = _unquote(field).split(".")
        if camel(first) not in self.fields:
            raise self.error(f"unknown field {field!r}; known are {', '.join(sorted(self.fields))}")
        return [camel(first), *([".".join(rest)] if rest else [])]

    def value(self) -> str:
        token = self.take()
        if token in {"=", "!=", "<", "<=", ">", ">=", ":", "(", ")"}:
            raise self.error(f"expected a value, found {token!r}")
        return canonical(_unquote(token))


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'" else token


def _lookup(resource: Resource, path: list[str]) -> Any:
    value: Any = resource
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _compare(op: str, actual: Any, value: str) -> bool:
    if op == ":" and value == "*":
        return actual not in (None, "", [], {})
    if op in ("=", ":"):
        return any(_equal(item, value) for item in (actual if isinstance(actual, (list, dict)) else [actual]))
    if op == "!=":
        return not _equal(actual, value)
    return isinstance(actual, str) and _ORDER[op](actual, value)


def _equal(actual: Any, value: str) -> bool:
    if actual is None:
        return False
    text = str(actual).lower() if isinstance(actual, bool) else str(actual)
    return fnmatchcase(text, _literal(value)) if "*" in value else text == value


def _literal(value: str) -> str:
    return value.replace("[", "[[]").replace("?", "[?]")
