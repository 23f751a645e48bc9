"""Documented limits of files and functions in a row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from vertex_tuning.config.media_table import media_facts
from vertex_tuning.datasets.validator import examine

OLD, NEW = "gemini-2.5-flash", "gemini-3.5-flash"


def file(mime: str = "image/png", uri: str = "gs://my-bucket/a.png", **part: Any) -> dict[str, Any]:
    return {"fileData": {"mimeType": mime, "fileUri": uri}, **part}


def video(**part: Any) -> dict[str, Any]:
    return file("video/mp4", "gs://my-bucket/a.mp4", **part)


def row(*parts: dict[str, Any], answer: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    turns = [("user", [*parts, {"text": "What is it?"}]), ("model", [answer or {"text": "A lamp."}])]
    return {"contents": [{"role": role, "parts": parts} for role, parts in turns], **others}


def found(row: dict[str, Any], model: str = "") -> list[tuple[str, bool]]:
    """Kinds of the problems of a row, and whether they are warnings."""
    return [
        (problem.kind, problem.warning)
        for problem in examine(json.dumps(row).encode(), facts=media_facts(model)).problems
        if problem.kind != "unknown_key"
    ]


def said(row: dict[str, Any], model: str = "") -> str:
    problems = examine(json.dumps(row).encode(), facts=media_facts(model)).problems
    return "\n".join(f"{problem.path} {problem.found} {problem.expected}" for problem in problems)


@pytest.mark.parametrize(
    ("mime", "most"), [("image/png", 30), ("application/pdf", 4), ("audio/mpeg", 1), ("video/mp4", 1)]
)
@pytest.mark.parametrize("model", ["", OLD, NEW])
def test_more_files_than_documented_are_a_warning(mime: str, most: int, model: str) -> None:
    files = [file(mime, f"gs://my-bucket/{number}") for number in range(most + 1)]
    assert found(row(*files[:most]), model) == []
    assert found(row(*files), model) == [("too_many_files", True)]
    assert f"{most + 1} " in said(row(*files), model)


def test_files_of_all_turns_count_together() -> None:
    twice = row(video())
    twice["contents"] += row(video())["contents"]
    assert found(twice) == [("too_many_files", True)]


@pytest.mark.parametrize(
    ("mime", "expected"),
    [
        ("image/jpg", "'image/jpeg'"),
        ("image/gif", "one of image/png, image/jpeg"),
        ("audio/x-wav", "'audio/wav'"),
        ("video/x-msvideo", "one of video/x-flv"),
        ("application/vnd.ms-excel", "a documented type such as image/png"),
        ("a/b", "a documented type such as image/png"),
    ],
)
def test_a_type_that_is_not_documented_is_a_warning_with_the_right_one(mime: str, expected: str) -> None:
    assert found(row(file(mime))) == [("mime_type", True)]
    assert expected in said(row(file(mime)))


@pytest.mark.parametrize(
    "mime", ["IMAGE/PNG", "image/heic", "text/plain", "audio/x-aac", "video/3gpp", "video/quicktime"]
)
def test_documented_types_are_no_problem(mime: str) -> None:
    assert found(row(file(mime))) == []


@pytest.mark.parametrize("uri", ["gs://my-bucket", "gs://my-bucket/", "gs:///a.png"])
def test_a_bucket_without_an_object_is_an_error(uri: str) -> None:
    assert found(row(file(uri=uri))) == [("uri", False)]
    assert "gs://bucket/object" in said(row(file(uri=uri)))


def test_a_file_in_an_answer_is_a_warning() -> None:
    assert found(row(answer=file())) == [("file_as_answer", True)]


def test_a_response_of_a_function_is_no_answer() -> None:
    answer = {"functionResponse": {"name": "f", "response": {"a": 1}}}
    assert found(row(answer=answer)) == [("no_answer", True)]


TOOLS = [{"functionDeclarations": [{"name": "stock_level"}]}]
SNAKE_TOOLS = [{"function_declarations": [{"name": "stock_level"}]}]


def call(name: str = "stock_level", key: str = "functionCall") -> dict[str, Any]:
    return {key: {"name": name, "args": {"sku": "x"}}}


@pytest.mark.parametrize("tools", [TOOLS, SNAKE_TOOLS])
@pytest.mark.parametrize("key", ["functionCall", "function_call"])
def test_a_called_function_must_be_declared(tools: list[Any], key: str) -> None:
    assert found(row(answer=call(key=key), tools=tools), NEW) == []
    undeclared = row(answer=call("stock_levels", key), tools=tools)
    assert found(undeclared, NEW) == [("undeclared_function", True)]
    assert "did you mean 'stock_level'?" in said(undeclared, NEW)
    assert found(row(answer=call(key=key)), NEW) == [("undeclared_function", True)]


def test_a_model_seen_to_refuse_functions_is_a_warning() -> None:
    assert found(row(answer=call(), tools=TOOLS), OLD) == [("function_calls", True)]
    assert found(row(answer=call(), tools=TOOLS)) == []
    assert found(row(tools=TOOLS), OLD) == []


def of_part(level: str) -> dict[str, Any]:
    return file(mediaResolution={"level": level})


@pytest.mark.parametrize(
    ("row", "model", "kinds"),
    [
        (row(of_part("MEDIA_RESOLUTION_LOW")), NEW, []),
        (row(of_part("MEDIA_RESOLUTION_ULTRA_HIGH")), NEW, []),
        (row(of_part("MEDIA_RESOLUTION_LOW")), "", []),
        (row(of_part("MEDIA_RESOLUTION_LOW")), OLD, [("media_resolution", True)]),
        (row(of_part("MEDIA_RESOLUTION_TINY")), NEW, [("media_resolution", True)]),
        (row(video(mediaResolution={"level": "MEDIA_RESOLUTION_ULTRA_HIGH"})), NEW, [("media_resolution", True)]),
        (row(file(), generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"}), OLD, []),
        (row(file(), generation_config={"media_resolution": "MEDIA_RESOLUTION_HIGH"}), NEW, []),
        (row(file(), generationConfig={"mediaResolution": None}), OLD, []),
        (
            row(file(), generationConfig={"mediaResolution": "MEDIA_RESOLUTION_ULTRA_HIGH"}),
            NEW,
            [("media_resolution", True)],
        ),
        (row(file(), generationConfig={"mediaResolution": "SHARP"}), "", [("media_resolution", True)]),
    ],
)
def test_media_resolutions(row: dict[str, Any], model: str, kinds: list[tuple[str, bool]]) -> None:
    assert found(row, model) == kinds


def segment(start: object, end: object, low: bool = True) -> dict[str, Any]:
    config = {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}} if low else {}
    return row(video(videoMetadata={"startOffset": start, "endOffset": end}), **config)


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (segment("5s", "25s"), []),
        (segment("5.5s", "25.25s"), []),
        (segment(None, "25s"), []),
        (segment("5s", None), []),
        (segment("25s", "5s"), [("video_metadata", True)]),
        (segment("a while", "5s"), [("video_metadata", True)]),
        (segment("0s", "1200s"), []),
        (segment("0s", "1201s"), [("video_length", True)]),
        (segment("100s", "1300s"), []),
        (row(file(videoMetadata={"endOffset": "5s"})), [("video_metadata", True)]),
    ],
)
def test_segments_of_a_video(row: dict[str, Any], kinds: list[tuple[str, bool]]) -> None:
    assert found(row, OLD) == kinds


def test_a_high_resolution_allows_shorter_videos() -> None:
    long = segment("0s", "301s")
    long["generationConfig"]["mediaResolution"] = "MEDIA_RESOLUTION_MEDIUM"
    assert found(long, OLD) == [("video_length", True)]


@pytest.mark.parametrize(("model", "tokens"), [(OLD, 64), (NEW, 280)])
def test_a_row_counts_its_files_at_their_resolution(model: str, tokens: int) -> None:
    text = row()
    image = row(file(), generationConfig={"mediaResolution": "MEDIA_RESOLUTION_LOW"})
    snake = row(
        {"file_data": {"mime_type": "image/png", "file_uri": "gs://b/a"}},
        generation_config={"media_resolution": "MEDIA_RESOLUTION_LOW"},
    )
    counted = [examine(json.dumps(each).encode(), facts=media_facts(model)).measured for each in (text, image, snake)]
    inputs = [measured[2] for measured in counted if measured]
    assert inputs == [inputs[0], inputs[0] + tokens, inputs[0] + tokens]
