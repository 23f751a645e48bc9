"""What is uploaded is what was read: both decode to the same message of Google's own client."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vertex_tuning.datasets.json_fields import camel_case, without_nulls
from vertex_tuning.datasets.prepare import sample
from vertex_tuning.datasets.token_counts import as_json

from tests.support.dataset_files import lines, prepared

CAMEL = {
    "systemInstruction": "system_instruction",
    "generationConfig": "generation_config",
    "mediaResolution": "media_resolution",
    "fileData": "file_data",
    "mimeType": "mime_type",
    "fileUri": "file_uri",
    "functionCall": "function_call",
    "functionResponse": "function_response",
    "functionDeclarations": "function_declarations",
    "videoMetadata": "video_metadata",
    "startOffset": "start_offset",
    "endOffset": "end_offset",
}
NULLABLE = ("thought", "executableCode", "codeExecutionResult", "inlineData", "thoughtSignature")
"""Fields of a part that google-genai writes as null."""


@pytest.fixture(scope="module")
def request_type() -> Any:
    """Google's message with the fields of a row."""
    from google.cloud.aiplatform_v1beta1.types import GenerateContentRequest

    return GenerateContentRequest.pb()


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: not text.isspace()
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(-1e6, 1e6) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
structs = st.dictionaries(words | st.sampled_from(["file_data", "args", "null"]), values, max_size=3)
names = st.sampled_from(["weather", "get_stock", "a"])
texts = st.fixed_dictionaries({"text": words})
images = st.builds(
    lambda n: {"fileData": {"mimeType": "image/png", "fileUri": f"gs://bucket/{n}.png"}}, st.integers(0, 9)
)
videos = st.builds(
    lambda start, end: {
        "fileData": {"mimeType": "video/mp4", "fileUri": "gs://bucket/a.mp4"},
        "videoMetadata": {"startOffset": f"{start}s", "endOffset": f"{start + end}s"},
    },
    st.integers(0, 9),
    st.integers(1, 9),
)
calls = st.fixed_dictionaries({"functionCall": st.fixed_dictionaries({"name": names, "args": structs})})
responses = st.fixed_dictionaries({"functionResponse": st.fixed_dictionaries({"name": names, "response": structs})})
schemas = st.recursive(
    st.fixed_dictionaries(
        {"type": st.just("STRING")}, optional={"description": words, "default": values, "enum": st.lists(words)}
    ),
    lambda inner: st.fixed_dictionaries(
        {"type": st.just("OBJECT"), "properties": st.dictionaries(words | st.just("file_data"), inner, max_size=3)}
    ),
    max_leaves=4,
)
tools = st.lists(
    st.fixed_dictionaries(
        {"functionDeclarations": st.lists(st.fixed_dictionaries({"name": names, "parameters": schemas}), max_size=2)}
    ),
    max_size=2,
)
user_turns = st.fixed_dictionaries(
    {"role": st.just("user"), "parts": st.lists(texts | images | videos | responses, min_size=1, max_size=3)}
)
model_turns = st.fixed_dictionaries(
    {"role": st.just("model"), "parts": st.lists(texts | calls, min_size=1, max_size=2)}
)
conversations = st.lists(st.tuples(user_turns, model_turns), min_size=1, max_size=2).map(
    lambda pairs: [turn for both in pairs for turn in both]
)
gemini_rows = st.fixed_dictionaries(
    {"contents": conversations},
    optional={
        "systemInstruction": st.fixed_dictionaries({"parts": st.lists(texts, min_size=1, max_size=2)}),
        "tools": tools,
        "generationConfig": st.just({"mediaResolution": "MEDIA_RESOLUTION_LOW"}),
    },
)


@st.composite
def written(draw: st.DrawFn) -> dict[str, Any]:
    """A row as some tool writes it: some names in snake case, some fields that are null, some roles left out."""
    row: dict[str, Any] = draw(gemini_rows)
    generator = draw(st.randoms(use_true_random=False))

    def name(key: str) -> str:
        return CAMEL.get(key, key) if generator.random() < 0.3 else key

    def message(value: Any, field: str = "") -> Any:
        if isinstance(value, list):
            return [message(item, field) for item in value]
        if not isinstance(value, dict) or field in ("args", "response", "default"):
            return value
        if field == "properties":
            return {key: message(item) for key, item in value.items()}
        return {name(key): message(item, key) for key, item in value.items()}

    for turn in row["contents"]:
        for part in turn["parts"]:
            part |= {key: None for key in NULLABLE if generator.random() < 0.2}
        if len(row["contents"]) == 2 and generator.random() < 0.2:
            del turn["role"]
    row |= {key: None for key in ("tools", "systemInstruction") if key not in row and generator.random() < 0.2}
    changed: dict[str, Any] = message(row)
    return changed


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(written(), min_size=1, max_size=3))
def test_what_is_uploaded_decodes_to_what_was_read(request_type: Any, rows: list[dict[str, Any]]) -> None:
    content = lines(rows)
    with tempfile.TemporaryDirectory() as folder:
        found = prepared(content, Path(folder))
        found.require_valid()
        uploaded = Path(found.training.path).read_bytes() if found.training.path else content
    assert [decoded(request_type, json.loads(line)) for line in uploaded.splitlines()] == [
        decoded(request_type, row) for row in rows
    ]
    for line in uploaded.splitlines():
        assert without_nulls(json.loads(line)) == json.loads(line)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written())
def test_a_sample_decodes_to_what_was_read(request_type: Any, row: dict[str, Any]) -> None:
    [sampled] = sample(lines([row]).splitlines(), 1)
    expected = camel_case(row)
    for turn, role in zip(expected["contents"], ("user", "model") * 2, strict=False):
        turn["role"] = role
    expected = {key: value for key, value in expected.items() if value}
    assert decoded(request_type, as_json(sampled)) == decoded(request_type, expected)


def decoded(request_type: Any, row: dict[str, Any]) -> Any:
    return json_format.ParseDict(row, request_type())
