"""Rules about files and functions in a row of valid shape, and the tokens of its files. Pure.

They are the documented limits of the tuning service, from a table that `vertex_tuning.costs.media` describes. The
documents say that the service drops some examples, and are silent about others: all these rows cause warnings.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vertex_tuning.costs.media import (
    NO_TOKENS,
    MediaFacts,
    MediaFile,
    MediaKind,
    MediaLimits,
    Resolution,
    TokenRange,
    longest_seconds,
    media_tokens,
)
from vertex_tuning.datasets.findings import Problem, describe
from vertex_tuning.text.suggestions import nearest

_LEVEL_PREFIX: Final = "MEDIA_RESOLUTION_"
_RESOLUTIONS: Final[Mapping[str, Resolution]] = {
    "UNSPECIFIED": "default",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "ULTRA_HIGH": "ultra_high",
}
_OF_A_ROW: Final = ("UNSPECIFIED", "LOW", "MEDIUM", "HIGH")
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s?", re.ASCII)
_OBJECT: Final = re.compile(r"gs://[^/]+/.+", re.DOTALL)
_OTHER_SPELLING: Final = 0.88
"""Similarity of two spellings of a MIME type, `image/jpg` and `image/jpeg`: `image/gif` is not `image/heif`."""
_MOST_FRAMES: Final = 24.0
"""Highest frame rate that the API accepts (field `fps` of `VideoMetadata`)."""


class FilePart(NamedTuple):
    """A part with a file, and where it stands.

    :param path: JSON path of the part
    :param role: role of its turn, in lower case
    :param mime_type: MIME type
    :param uri: address of the file
    :param part: the whole part
    :param file: what the row says about the file
    """

    path: str
    role: str
    mime_type: str
    uri: str
    part: Mapping[str, Any]
    file: MediaFile


def file_parts(row: Mapping[str, Any], facts: MediaFacts) -> list[FilePart]:
    """The parts of a row that have a file."""
    of_row = _resolution_named(resolution_of(row))
    return [
        _file_part(f".contents[{turn_number}].parts[{number}]", turn, part, data, of_row, facts)
        for turn_number, turn in enumerate(row["contents"])
        for number, part in enumerate(turn["parts"])
        if (data := _field(part, "fileData", "file_data")) is not None
    ]


def resolution_of(row: Mapping[str, Any]) -> object:
    """The media resolution of a row, as it is written; None if it has none."""
    config = _field(row, "generationConfig", "generation_config")
    return _field(config, "mediaResolution", "media_resolution") if isinstance(config, dict) else None


def file_tokens(files: list[FilePart], facts: MediaFacts) -> TokenRange:
    """Fewest and most tokens of the files of a row."""
    return sum((media_tokens(each.file, facts) for each in files), NO_TOKENS)


def media_problems(row: Mapping[str, Any], files: list[FilePart], facts: MediaFacts) -> Iterator[Problem]:
    """Problems of the files and functions of a row.

    :param row: row of valid shape
    :param files: its `file_parts`
    """
    if files:
        for each in files:
            yield from _file_problems(each, facts)
        yield from _limits(files, facts)
    yield from _resolution(resolution_of(row), ".generationConfig.mediaResolution", _OF_A_ROW)
    yield from _last_turn(row)
    calls = function_calls(row)
    if calls:
        yield from _undeclared(row, calls)
        yield from _refused(calls, facts)


def _file_part(
    path: str,
    turn: Mapping[str, Any],
    part: Mapping[str, Any],
    data: Mapping[str, Any],
    of_row: Resolution,
    facts: MediaFacts,
) -> FilePart:
    mime = str(_field(data, "mimeType", "mime_type"))
    level = _level(part)
    file = MediaFile(
        _kind(mime, facts),
        of_row if level is None else _resolution_named(level),
        _seconds(part),
        _frames_per_second(part),
    )
    uri = str(_field(data, "fileUri", "file_uri"))
    return FilePart(path, str(turn.get("role") or "").lower(), mime, uri, part, file)


def _kind(mime: str, facts: MediaFacts) -> MediaKind | None:
    """The kind of a file. A type that is not in the list of its kind is that kind all the same: `image/jpg`."""
    for kind, limits in facts.kinds.items():
        if mime.lower() in limits.mime_types:
            return kind
    first = mime.lower().partition("/")[0]
    return next((kind for kind in facts.kinds if kind == first), None)


def _field(value: Mapping[str, Any], *names: str) -> Any:
    """A field by its name in JSON or in the API's definition; null is "not set"."""
    return next((value[name] for name in names if value.get(name) is not None), None)


def _level(part: Mapping[str, Any]) -> object:
    value = _field(part, "mediaResolution", "media_resolution")
    return value.get("level") if isinstance(value, dict) else value


def _short(level: object) -> str:
    """A media resolution without the prefix of the API's names."""
    return str(level).upper().removeprefix(_LEVEL_PREFIX)


def _resolution_named(level: object) -> Resolution:
    return _RESOLUTIONS.get(_short(level), "default")


def _video_metadata(part: Mapping[str, Any]) -> Mapping[str, Any]:
    value = _field(part, "videoMetadata", "video_metadata")
    return value if isinstance(value, dict) else {}


def _seconds(part: Mapping[str, Any]) -> float | None:
    """Length of the segment that a row names; None if it names no end."""
    start, end = _offsets(part)
    return end - start if end is not None and start is not None and end > start else None


def _offsets(part: Mapping[str, Any]) -> tuple[float | None, float | None]:
    metadata = _video_metadata(part)
    start = _field(metadata, "startOffset", "start_offset")
    return (0.0 if start is None else _duration(start)), _duration(_field(metadata, "endOffset", "end_offset"))


def _duration(value: object) -> float | None:
    """A duration in seconds, as proto JSON writes it ("5s", "5.5s"); None for any other value."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) if match else None


def _frames_per_second(part: Mapping[str, Any]) -> float:
    value = _video_metadata(part).get("fps")
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST_FRAMES:
        return float(value)
    return 1.0


def _file_problems(each: FilePart, facts: MediaFacts) -> Iterator[Problem]:
    if each.uri.startswith("gs://") and not _OBJECT.fullmatch(each.uri):
        yield Problem("uri", f"{each.path}.fileData.fileUri", describe(each.uri), "gs://bucket/object")
    listed = [mime for limits in facts.kinds.values() for mime in limits.mime_types]
    if listed and each.mime_type.lower() not in listed:
        yield _warning(
            "mime_type", f"{each.path}.fileData.mimeType", describe(each.mime_type), _expected_mime(each, facts)
        )
    if each.role == "model":
        yield _warning("file_as_answer", each.path, "a file in a turn of the model", "text or a function call to learn")
    yield from _part_resolution(each, facts)
    yield from _segment(each)


def _expected_mime(each: FilePart, facts: MediaFacts) -> str:
    if each.file.kind is None:
        return "a documented type such as image/png, application/pdf, audio/mpeg or video/mp4"
    listed = facts.kinds[each.file.kind].mime_types
    near = difflib.get_close_matches(each.mime_type.lower(), listed, n=1, cutoff=_OTHER_SPELLING)
    return repr(near[0]) if near else f"one of {', '.join(listed)}"


def _part_resolution(each: FilePart, facts: MediaFacts) -> Iterator[Problem]:
    level, path = _level(each.part), f"{each.path}.mediaResolution"
    if level is None:
        return
    if facts.rates and not facts.part_resolution:
        expected = f"generationConfig.mediaResolution of the row; only Gemini 3 takes one for a part, not {facts.model}"
        yield _warning("media_resolution", path, describe(level), expected)
        return
    yield from _resolution(level, path, list(_RESOLUTIONS) if each.file.kind == "image" else _OF_A_ROW)


def _resolution(level: object, path: str, known: Sequence[str]) -> Iterator[Problem]:
    if level is not None and _short(level) not in known:
        expected = ", ".join(f"{_LEVEL_PREFIX}{name}" for name in known)
        yield _warning("media_resolution", path, describe(level), f"one of {expected}")


def _segment(each: FilePart) -> Iterator[Problem]:
    metadata, path = _video_metadata(each.part), f"{each.path}.videoMetadata"
    if metadata and each.file.kind not in ("video", None):
        yield _warning("video_metadata", path, f"videoMetadata at a file of type {describe(each.mime_type)}", "a video")
        return
    for names in (("startOffset", "start_offset"), ("endOffset", "end_offset")):
        offset = _field(metadata, *names)
        if offset is not None and _duration(offset) is None:
            yield _warning("video_metadata", f"{path}.{names[0]}", describe(offset), "seconds such as '5s'")
    start, end = _offsets(each.part)
    if start is not None and end is not None and end <= start:
        yield _warning(
            "video_metadata", path, f"an end at {end:g} s and a start at {start:g} s", "an end after the start"
        )


def _limits(files: list[FilePart], facts: MediaFacts) -> Iterator[Problem]:
    """Rows over a documented limit of an example."""
    counts = Counter(each.file.kind for each in files)
    for kind, limits in facts.kinds.items():
        if limits.most_files and counts[kind] > limits.most_files:
            found = f"{counts[kind]} {limits.name}"
            yield _warning("too_many_files", ".contents", found, f"at most {limits.most_files} in an example{_DROPPED}")
        yield from _too_long(kind, limits, [each.file for each in files if each.file.kind == kind])


def _too_long(kind: MediaKind, limits: MediaLimits, files: list[MediaFile]) -> Iterator[Problem]:
    if over := over_length(limits, files):
        found, expected = over
        yield _warning(f"{kind}_length", ".contents", found, f"{expected}{_DROPPED}")


def over_length(limits: MediaLimits, files: list[MediaFile]) -> tuple[str, str] | None:
    """Found and expected length of the files of a kind in an example; None if it is in the limit or not known."""
    seconds = sum(file.seconds or 0 for file in files)
    pages = sum(file.pages or 0 for file in files)
    if limits.most_seconds and files:
        longest = min(longest_seconds(limits, file.resolution) for file in files)
        if seconds > longest:
            return (
                f"{limits.name} of {seconds:,.0f} seconds",
                f"at most {longest:,.0f} seconds at this media resolution",
            )
    if limits.most_pages and pages > limits.most_pages:
        return f"{limits.name} of {pages:,} pages", f"at most {limits.most_pages} pages in an example"
    return None


_DROPPED: Final = "; the service may drop the example"


def _last_turn(row: Mapping[str, Any]) -> Iterator[Problem]:
    parts = row["contents"][-1]["parts"]
    if any(_field(part, "text", "functionCall", "function_call") is not None for part in parts):
        return
    if all(_field(part, "fileData", "file_data") is None for part in parts):
        path = f".contents[{len(row['contents']) - 1}].parts"
        yield _warning("no_answer", path, "a last turn without text and function call", "a response to learn")


def _undeclared(row: Mapping[str, Any], calls: Mapping[str, str]) -> Iterator[Problem]:
    """Called functions that the row does not declare; each name once."""
    declared = {
        str(declaration.get("name"))
        for tool in row.get("tools") or ()
        for declaration in _field(tool, "functionDeclarations", "function_declarations") or ()
    }
    for name, path in calls.items():
        if name not in declared:
            near = nearest(name, declared)
            hint = f"; did you mean {near!r}?" if near else ""
            yield _warning("undeclared_function", path, describe(name), f"a function that `tools` declares{hint}")


def _refused(calls: Mapping[str, str], facts: MediaFacts) -> Iterator[Problem]:
    """A call, for a model that was seen to refuse function calls in tuning data."""
    if facts.refuses_functions:
        expected = f"texts only: {facts.model} was seen to refuse function calls in tuning data"
        yield _warning("function_calls", next(iter(calls.values())), "a function call", expected)


def function_calls(row: Mapping[str, Any]) -> dict[str, str]:
    """The names of the functions that a row calls, with the path of the first call."""
    calls: dict[str, str] = {}
    for turn_number, turn in enumerate(row["contents"]):
        for number, part in enumerate(turn["parts"]):
            call = _field(part, "functionCall", "function_call")
            if call is not None:
                calls.setdefault(str(call.get("name")), f".contents[{turn_number}].parts[{number}].functionCall.name")
    return calls


def _warning(kind: str, path: str, found: str, expected: str) -> Problem:
    return Problem(kind, path, found, expected, warning=True)
