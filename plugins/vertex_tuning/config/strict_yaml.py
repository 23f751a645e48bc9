"""Read a strict subset of YAML: plain data, unique keys, and no values that YAML readers interpret differently.

This module uses PyYAML's parser, not its constructors. The constructors follow YAML 1.1: `0100` is 64, `1:30` is 90 and
`no` is false. They also keep the last of two equal keys, and let errors of `datetime` and `int` escape.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import FieldPath, field_name
from vertex_tuning.text.plain_text import control_character

MAX_YAML_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 50
"""Most levels of nested lists and mappings. JSON schemas of smoke tests have the most, about 20."""
MISTAKES_SHOWN: Final = 20
"""Mistakes that a message lists; it gives the number of the others."""
MAX_INTEGER: Final = 2**63 - 1
MAX_DIGITS: Final = 400
"""Most characters of a number: a float can have this many before its point."""

_PARSER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_SWITCHES: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")

_NAMES: Final = frozenset({"on"})
"""Fields of a tuning with a name that YAML 1.1 reads as a switch. As a name, it cannot be mistaken for one."""

_TRAPS: Final = {
    "tag:yaml.org,2002:bool": "a switch; expected true or false, or",
    "tag:yaml.org,2002:timestamp": "a date; expected",
    "tag:yaml.org,2002:int": "{value}; expected a decimal number, or",
    "tag:yaml.org,2002:float": "{value}; expected a finite decimal number, or",
}
"""How YAML 1.1 interprets a value that is plain text here, and what to write."""


class Mistake(NamedTuple):
    """A mistake in a file.

    :param path: path of the field; empty for the whole file
    :param line: line number, from 1
    :param text: description, with the name of the field
    """

    path: FieldPath
    line: int
    text: str


class Document(NamedTuple):
    """The content of a file.

    :param lines: line number of each field, from 1
    """

    content: Any
    lines: dict[FieldPath, int]
    mistakes: list[Mistake]

    def line(self, path: FieldPath) -> int:
        """Line of a field; for a missing field, the first line of the mapping that should have it."""
        known = (path[:length] for length in range(len(path), -1, -1))
        return next((self.lines[part] for part in known if part in self.lines), 1)


class NotYamlError(Exception):
    """The text cannot be read, or cannot be read safely."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


def read_yaml_file(path: Path, dates: Container[FieldPath] = ()) -> Document:
    """Read a YAML file.

    :param dates: fields that are dates, see `read_yaml`
    :raises ConfigurationError: it is not a regular file, or it is too large
    :raises NotYamlError: see `read_yaml`, or the file is not UTF-8
    :raises OSError: the file is missing or cannot be read
    """
    if not path.is_file():
        if not path.exists() and not path.is_symlink():
            raise FileNotFoundError(f"found no file at {path}.")
        kind = "a folder" if path.is_dir() else "a link to nowhere" if path.is_symlink() else "no regular file"
        raise ConfigurationError(f"found {kind}, expected a file.")
    with path.open("rb") as file:
        content = file.read(MAX_YAML_BYTES + 1)
    if len(content) > MAX_YAML_BYTES:
        raise ConfigurationError(f"found more than {MAX_YAML_BYTES} bytes, expected a smaller file.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise NotYamlError(f"found the byte {content[error.start]:#04x}, expected UTF-8.", line) from error
    return read_yaml(text, dates)


def read_yaml(text: str, dates: Container[FieldPath] = ()) -> Document:
    """Read the text of a YAML file.

    :param dates: fields that are dates: they need no quotes, and are read as text
    :raises NotYamlError: the text is not YAML, is nested too deeply, or has anchors, aliases or tags
    """
    try:
        reader = _Reader(yaml.parse(text, Loader=_PARSER), dates)
        content = reader.document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        raise NotYamlError(f"is not YAML: {problem}.", mark.line + 1 if mark else 1) from error
    return Document(content, reader.lines, reader.mistakes)


class _Reader:
    """Builds plain data from the events of a parser."""

    def __init__(self, events: Iterator[yaml.Event], dates: Container[FieldPath]) -> None:
        self._events = events
        self._dates = dates
        self.lines: dict[FieldPath, int] = {}
        self.mistakes: list[Mistake] = []

    def document(self) -> Any:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        content = self._value(next(self._events), ())
        next(self._events)  # the document's end
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise NotYamlError("has more than one document; expected one.", _line(following))
        return content

    def _value(self, event: yaml.Event, path: FieldPath) -> Any:
        self.lines.setdefault(path, _line(event))
        _require_plain(event, len(path))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path)

    def _mapping(self, path: FieldPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            inside = (*path, key)
            if key in made:
                self._report(inside, _line(event), f"found twice, first in line {self.lines[inside]}; expected once.")
            self.lines.setdefault(inside, _line(event))
            value = self._value(next(self._events), inside)
            made.setdefault(key, value)
        return made

    def _key(self, event: yaml.Event, path: FieldPath) -> str:
        _require_plain(event, len(path))
        if not isinstance(event, yaml.ScalarEvent):
            raise NotYamlError("has a list or mapping as a key; expected a text.", _line(event))
        key = str(event.value)
        if event.implicit[0] and key == "<<":
            raise NotYamlError("has a merge key (<<); expected each field to be written out.", _line(event))
        if key not in _NAMES and not isinstance(self._scalar(event, (*path, key)), str):
            self._report(
                (*path, key), _line(event), f'found the key {_short(key)}; expected a text, as "{_short(key)}".'
            )
        return key

    def _sequence(self, path: FieldPath) -> list[Any]:
        made: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            made.append(self._value(event, (*path, len(made))))
        return made

    def _scalar(self, event: yaml.Event, path: FieldPath) -> Any:
        text = str(event.value)  # type: ignore[attr-defined]
        if control := control_character(text):
            self._report(path, _line(event), f"found the control character {control}; expected none.")
        if not event.implicit[0]:  # type: ignore[attr-defined]
            return text
        if text in _NULL:
            return None
        if text in _SWITCHES:
            return _SWITCHES[text]
        for pattern, parse in ((_INTEGER, _integer), (_FLOAT, _float)):
            if pattern.fullmatch(text):
                number = parse(text)
                if number is None:
                    self._report(path, _line(event), f"found {_short(text)}; expected a number within {MAX_INTEGER}.")
                return number
        if path not in self._dates and (trap := _trap(text)):
            short = _short(text)
            found = f"found {short}, which YAML reads as {trap}"
            self._report(path, _line(event), f'{found} quotes for a text, as "{short}".')
        return text

    def _report(self, path: FieldPath, line: int, text: str) -> None:
        self.mistakes.append(Mistake(path, line, f"{field_name(path)}: {text}"))


def _require_plain(event: yaml.Event, depth: int) -> None:
    """Check that a YAML event is part of plain data.

    :raises NotYamlError: it could use too much memory, or create other objects
    """
    line = _line(event)
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        name = event.anchor  # type: ignore[attr-defined]
        raise NotYamlError(f"has the anchor or alias {_short(name)!r}; expected each field to be written out.", line)
    if tag := getattr(event, "tag", None):
        raise NotYamlError(f"has the tag {_short(tag)!r}; expected values without a tag.", line)
    if depth > MAX_DEPTH:
        raise NotYamlError(f"has lists and mappings nested more than {MAX_DEPTH} deep; expected fewer.", line)


def _integer(text: str) -> int | None:
    number = int(text) if len(text) <= MAX_DIGITS else MAX_INTEGER + 1
    return number if abs(number) <= MAX_INTEGER else None


def _float(text: str) -> float | None:
    number = float(text) if len(text) <= MAX_DIGITS else math.inf
    return number if math.isfinite(number) else None


def _trap(text: str) -> str:
    """The value that other YAML readers read; empty if they read the same text."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], [])
    tag = next((tag for tag, pattern in resolvers if pattern.match(text)), "")
    trap = _TRAPS.get(tag, "")
    # The check is slow, and few texts need it.
    return trap.format(value=_as_read(text)) if trap else ""


def _as_read(text: str) -> str:
    """The number that YAML 1.1 reads."""
    try:
        return _short(str(yaml.safe_load(text)))
    except (ValueError, yaml.YAMLError):
        return "another number"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1
