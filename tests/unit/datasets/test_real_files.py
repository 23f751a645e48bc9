"""Files as people have them: what is converted, what is warned of, and in which words the rest is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from vertex_tuning.datasets.prepare import Prepared, sample
from vertex_tuning.datasets.sources import find_sources
from vertex_tuning.datasets.token_counts import as_json, calibrate
from vertex_tuning.exceptions import ConfigurationError, DatasetError

from tests.support.dataset_files import lines, pair, prepared, row

KIND: dict[str, Any] = {"systemInstruction": {"parts": [{"text": "Be kind."}]}}
WEATHER = {"name": "weather", "description": "Weather of a town"}
TOWN = {"type": "object", "properties": {"town": {"type": "string", "enum": ["Bern", "Bonn"]}}, "required": ["town"]}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Bern"}'}}
OTHER = {"id": "2", "type": "function", "function": {"name": "weather", "arguments": '{"town": "Bonn"}'}}
RESOLUTION = "MEDIA_RESOLUTION_LOW"


def chat(*messages: dict[str, Any] | tuple[str, str], **others: Any) -> dict[str, Any]:
    listed = [each if isinstance(each, dict) else {"role": each[0], "content": each[1]} for each in messages]
    return {"messages": listed, **others}


def used(rows: list[Any], folder: Path, **options: Any) -> tuple[list[dict[str, Any]], Prepared]:
    """The rows that are trained on."""
    content = lines(rows)
    found = prepared(content, folder, **options)
    found.require_valid()
    written = Path(found.training.path).read_bytes() if found.training.path else content
    return [json.loads(line) for line in written.splitlines()], found


def warned(found: Prepared) -> list[tuple[str, str]]:
    return [(finding.kind, finding.path) for finding in found.shown["warning"]]


def error_of(content: bytes, name: str = "train.jsonl", **options: Any) -> str:
    """The only error."""
    [finding] = [each for each in prepared(content, name=name, **options).shown["error"] if each.kind != "no_rows"]
    return str(finding)


# Nothing valid is refused


def test_a_role_may_be_missing_where_it_can_only_be_one() -> None:
    single = {"contents": [{"parts": [{"text": "Where is it?"}]}, {"parts": [{"text": "Here."}]}]}
    call = {"functionCall": {"name": "weather", "args": {}}}
    response = {"functionResponse": {"name": "weather", "response": {"sun": True}}}
    with_function = {
        "contents": [
            *row(("user", "How is it?"))["contents"],
            {"role": "model", "parts": [call]},
            {"parts": [response]},
            *row(("model", "Sunny."))["contents"],
        ],
        "tools": [{"functionDeclarations": [WEATHER]}],
    }
    found = prepared(lines([single, with_function]))
    assert (found.error_count, found.shown["warning"], found.training.rows) == (0, [], 2)


@pytest.mark.parametrize(
    "given",
    [
        chat(("user", "hello"), {"role": "assistant", "content": "hi", "weight": 1}),
        chat(("user", "hello"), {"role": "assistant", "content": "hi", "tool_calls": None, "refusal": None}),
        chat(
            ("user", "hello"), {"role": "assistant", "content": "hi", "annotations": []}, metadata={"source": "x"}, id=3
        ),
        {"conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}], "id": "a-1"},
        {"conversations": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]},
        {"instruction": "hello", "input": "", "output": "hi"},
        {"instruction": "hello", "input": "", "output": "hi", "text": "### Instruction: hello ### Response: hi"},
        {"text_input": "hello", "output": "hi"},
        {"prompt": "hello", "completion": "hi"},
        {"input_text": "hello", "output_text": "hi"},
        {**pair(), "systemInstruction": None, "tools": None},
    ],
)
def test_rows_of_other_tools_convert_without_a_warning(given: Any, tmp_path: Path) -> None:
    rows, found = used([given], tmp_path)
    assert rows == [pair()]
    assert found.shown["warning"] == []


def test_instructions_and_earlier_turns_are_kept(tmp_path: Path) -> None:
    alpaca = {"instruction": "Sum up.", "input": "A b.", "output": "A.", "system": "Be kind.", "history": [["a", "b"]]}
    sharegpt = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "Be kind."}
    rows, _ = used([alpaca], tmp_path)
    assert rows == [row(("user", "a"), ("model", "b"), ("user", "Sum up.\n\nA b."), ("model", "A."), **KIND)]
    rows, _ = used([sharegpt], tmp_path)
    assert rows == [pair("a", "b", **KIND)]


def test_tools_and_their_calls_convert(tmp_path: Path) -> None:
    given = chat(
        ("user", "Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [CALL, OTHER]},
        {"role": "tool", "tool_call_id": "2", "content": "rain"},
        {"role": "tool", "tool_call_id": "1", "content": '{"sun": true}'},
        ("assistant", "Sun in Bern, rain in Bonn."),
        tools=[{"type": "function", "function": {**WEATHER, "parameters": TOWN, "strict": True}}],
    )
    [converted], found = used([given], tmp_path)
    _, calls, responses, _ = converted["contents"]
    assert calls["parts"] == [
        {"functionCall": {"name": "weather", "args": {"town": "Bern"}}},
        {"functionCall": {"name": "weather", "args": {"town": "Bonn"}}},
    ]
    assert responses == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "weather", "response": {"sun": True}}},
            {"functionResponse": {"name": "weather", "response": {"output": "rain"}}},
        ],
    }
    schema = {
        "type": "OBJECT",
        "properties": {"town": {"type": "STRING", "enum": ["Bern", "Bonn"]}},
        "required": ["town"],
    }
    assert converted["tools"] == [{"functionDeclarations": [{**WEATHER, "parameters": schema}]}]
    assert found.shown["warning"] == []


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["integer", "null"]}, {"type": "INTEGER", "nullable": True}),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            {"default": None, "anyOf": [{"type": "STRING"}], "nullable": True},
        ),
        (
            {"type": "array", "items": {"type": "number"}, "minItems": 1},
            {"type": "ARRAY", "minItems": 1, "items": {"type": "NUMBER"}},
        ),
    ],
)
def test_schemas_of_pydantic_convert(schema: Any, expected: Any, tmp_path: Path) -> None:
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}},
    }
    [converted], _ = used([chat(("user", "a"), ("assistant", "b"), tools=[tool])], tmp_path)
    [declaration] = converted["tools"][0]["functionDeclarations"]
    assert declaration["parameters"]["properties"]["a"] == expected


def tool_with(**schema: Any) -> dict[str, Any]:
    return chat(
        ("user", "a"), ("assistant", "b"), tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]
    )


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        (chat(("user", "a"), {"role": "assistant", "content": "b", "weight": 0}), "messages[1].weight", "found 0"),
        (
            chat(("user", "a"), ("assistant", "b"), ("system", "s"), ("user", "c"), ("assistant", "d")),
            "messages[2]",
            "a system message after the first turn",
        ),
        (
            chat(("user", "a"), {"role": "assistant", "content": "b", "reasoning_content": "hm"}),
            "messages[1].reasoning_content",
            "found 'hm'",
        ),
        (
            chat(("user", "a"), {"role": "assistant", "function_call": {"name": "f"}}),
            "messages[1].function_call",
            "tool_calls",
        ),
        (
            chat(
                ("user", "a"),
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "9", "content": "x"},
            ),
            "messages[2].tool_call_id",
            "found '9'",
        ),
        (
            chat(
                ("user", "a"),
                {"role": "assistant", "tool_calls": [CALL, OTHER]},
                {"role": "tool", "tool_call_id": "1", "content": "x"},
                ("assistant", "b"),
            ),
            "messages[1]",
            "no response to '2'",
        ),
        (tool_with(oneOf=[]), "tools[0].function.parameters.oneOf", "Gemini's schema has no more"),
        (
            tool_with(type="object", properties={"a": {"type": "any"}}),
            "tools[0].function.parameters.properties.a.type",
            "found 'any'",
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "observation", "value": "b"}]},
            "conversations[1].from",
            "(format: ShareGPT)",
        ),
        ({"instruction": "a", "output": "b", "rating": 5}, "rating", "(format: Alpaca)"),
        ({"text_input": "a", "output": ""}, "output", "(format: AI Studio (text_input and output))"),
        (
            {"prompt": [{"role": "user"}], "completion": "b"},
            "prompt",
            "found a list, expected a text (format: prompt and completion)",
        ),
    ],
)
def test_what_would_get_lost_is_refused_with_its_place(given: Any, path: str, words: str) -> None:
    message = error_of(lines([given]))
    assert f"line 1: {path}: " in message
    assert words in message


def test_a_name_is_left_out_with_a_warning(tmp_path: Path) -> None:
    rows, found = used([chat({"role": "user", "content": "hello", "name": "Ada"}, ("assistant", "hi"))], tmp_path)
    assert rows == [pair()]
    assert warned(found) == [("left_out", "messages[0].name")]


def test_turns_of_the_same_role_are_refused_or_joined(tmp_path: Path) -> None:
    given = chat(("user", "a"), ("user", "b"), ("assistant", "c"))
    assert "consecutive_turns: join" in error_of(lines([given]))
    rows, _ = used([given], tmp_path, consecutive_turns="join")
    assert rows == [pair("a\nb", "c")]


@pytest.mark.parametrize(
    ("content", "name", "format_set", "format_read"),
    [
        (lines([chat(("user", "hello"), ("assistant", "hi"))]), "a.jsonl", "gemini", "chat"),
        (lines([pair()]), "a.jsonl", "csv", "gemini"),
        (b"prompt,response\nhello,hi\n", "a.csv", "chat", "csv"),
        (lines([pair()]), "a.csv", None, "gemini"),
    ],
)
def test_a_file_of_another_format_than_is_set_is_recognised(
    content: bytes, name: str, format_set: str | None, format_read: str
) -> None:
    found = prepared(content, name=name, format=format_set)
    assert (found.error_count, found.training.format, found.training.rows) == (0, format_read, 1)
    assert [finding.kind for finding in found.shown["warning"]] == (["format"] if format_set else [])


def test_null_fields_are_not_set_and_not_uploaded(tmp_path: Path) -> None:
    nulls = {"fileData": None, "file_data": None, "video_metadata": None, "thought": None, "functionCall": None}
    turns = [{"role": role, "parts": [{"text": text, **nulls}]} for role, text in (("user", "hello"), ("model", "hi"))]
    rows, found = used([pair("first"), {"contents": turns, "tools": None}], tmp_path)
    assert rows == [pair("first"), pair()]
    assert found.shown["warning"] == []


def test_null_is_a_value_in_arguments_of_functions(tmp_path: Path) -> None:
    call = {"functionCall": {"name": "weather", "args": {"town": None}, "id": None}}
    tools = [{"functionDeclarations": [{"name": "weather", "description": None}]}]
    given = {"contents": [*row(("user", "a"))["contents"], {"role": "model", "parts": [call]}], "tools": tools}
    [uploaded], _ = used([given], tmp_path)
    assert uploaded["contents"][1]["parts"] == [{"functionCall": {"name": "weather", "args": {"town": None}}}]
    assert uploaded["tools"] == [{"functionDeclarations": [{"name": "weather"}]}]


def test_documented_settings_of_files_cause_no_warning(tmp_path: Path) -> None:
    video = {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/a.mp4"}, "videoMetadata": {"endOffset": "20s"}}
    given = {
        "contents": [{"role": "user", "parts": [video, {"text": "Which?"}]}, *row(("model", "A dog."))["contents"]],
        "generationConfig": {"mediaResolution": RESOLUTION},
    }
    rows, found = used([given], tmp_path)
    assert rows == [given]
    assert found.shown["warning"] == []


# Nothing is lost in silence


def test_a_sample_and_its_count_have_all_that_is_trained_on() -> None:
    data = {"mime_type": "video/mp4", "file_uri": "gs://b/a.mp4"}
    part = {"file_data": data, "video_metadata": {"end_offset": "5s"}, "media_resolution": {"level": RESOLUTION}}
    given = {
        "system_instruction": {"parts": [{"text": "Be kind."}]},
        "contents": [{"role": "user", "parts": [part, {"text": "Which?"}]}, *row(("model", "A dog."))["contents"]],
        "tools": [{"function_declarations": [WEATHER]}],
        "generation_config": {"media_resolution": RESOLUTION},
    }
    [sampled] = sample(lines([given]).splitlines(), 1)
    example = as_json(sampled)
    assert example["systemInstruction"]["parts"] == [{"text": "Be kind."}]
    assert example["contents"][0]["parts"][0] == {
        "fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/a.mp4"},
        "videoMetadata": {"endOffset": "5s"},
        "mediaResolution": {"level": RESOLUTION},
    }
    assert example["tools"] == [{"functionDeclarations": [WEATHER]}]
    assert example["generationConfig"] == {"mediaResolution": RESOLUTION}
    counted: list[Any] = []

    def count(given: Any) -> int:
        counted.append(given)
        return 1

    calibrate([sampled], count)
    assert counted[0].keys() == example.keys()


def test_the_same_turns_with_other_tools_are_two_examples() -> None:
    tools = [[{"functionDeclarations": [{"name": name}]}] for name in ("a", "b")]
    found = prepared(lines([pair(tools=tools[0]), pair(tools=tools[1]), pair(), pair(tools=tools[0])]))
    assert [(finding.kind, finding.line) for finding in found.shown["warning"]] == [("duplicate", 4)]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b'{"contents": [], "contents": [{"role": "user", "parts": [{"text": "a"}]}]}', "contents"),
        (
            b'{"messages": [{"role": "user", "content": "a", "content": "b"}, {"role": "assistant", "content": "c"}]}',
            "messages[0].content",
        ),
        (b'{"prompt": "a", "response": "b", "response": "c"}', "response"),
        (
            b'{"contents": [{"role": "user", "parts": [{"text": "\\\\"}]},'
            b' {"role": "model", "parts": [{"text": "\\"a", "te\\u0078t": "b"}]}]}',
            "contents[1].parts[0].text",
        ),
    ],
)
def test_a_key_that_occurs_twice_is_an_error(line: bytes, path: str) -> None:
    good = [pair(f"question {number}") for number in range(3)]
    first = json.loads(line)
    rows = good if "contents" in first else [first]
    message = error_of(lines([*rows, line]), on_invalid_row="fail")
    assert f"line {len(rows) + 1}: {path}: found this key twice" in message


def test_a_pattern_takes_the_data_among_many_other_files(tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / f"{number:04}.png").touch()
    names = [f"{letter}.jsonl" for letter in "abcde"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "nowhere.jsonl").symlink_to("gone")
    (tmp_path / "outside.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo.jsonl")
    assert [source.name for source in find_sources("*", [tmp_path], cast(Any, None))] == names


@pytest.mark.parametrize("name", ["loop.jsonl", "nowhere.jsonl", "fifo.jsonl"])
def test_a_link_that_leads_nowhere_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "nowhere.jsonl").symlink_to("gone")
    os.mkfifo(tmp_path / "fifo.jsonl")
    with pytest.raises((DatasetError, ConfigurationError), match=name.partition(".")[0]):
        find_sources(name, [tmp_path], cast(Any, None))


# Words for each mistake

PRETTY = json.dumps(pair(), indent=2).encode()


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (
            PRETTY,
            "my data.jsonl",
            "pretty-printed JSON, an object over several lines, expected one JSON object per line."
            " Convert the file: `cat 'my data.jsonl' | jq -c . > 'my data-converted.jsonl'`.",
        ),
        (PRETTY * 3, "a.jsonl", "jq -c ."),
        (json.dumps([pair(), pair("b")], indent=1).encode(), "a.jsonl", "a JSON array of rows"),
        (json.dumps([pair(), pair("b")]).encode(), "a.jsonl", "jq -c '.[]'"),
        (b"[\n" + lines([pair()]).strip() + b",\n" + lines([pair("b")]) + b"]\n", "a.jsonl", "a JSON array of rows"),
        (
            lines([pair()]).decode().encode("utf-16"),
            "a.jsonl",
            "text in UTF-16, expected UTF-8. Convert the file:"
            " `cat a.jsonl | iconv -f UTF-16 -t UTF-8 > a-converted.jsonl`.",
        ),
        (lines([pair()]).decode().encode("utf-16-be"), "a.jsonl", "text in UTF-16BE"),
        ("prompt,response\na,b\n".encode("utf-16"), "a.csv", "text in UTF-16"),
        (
            b"text;label\na;b\n",
            "a.csv",
            "found 'text', 'label', separated by ';', expected the columns 'prompt' and 'response', once each",
        ),
        (b"text\tlabel\na\tb\n", "a.csv", r"separated by '\t'"),
        (lines([{**row(("user", "a")), "completions": []}]) * 3, "a.jsonl", "preference rows"),
        (lines([{"prompt": "a", "chosen": "b", "rejected": "c"}]) * 3, "a.jsonl", "preference rows"),
    ],
)
def test_a_file_of_another_layout_is_one_error_that_says_what_mends_it(content: bytes, name: str, words: str) -> None:
    found = prepared(content, name=name)
    [finding] = found.shown["error"]
    assert words in str(finding)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_with_another_separator_is_read(separator: str, tmp_path: Path) -> None:
    content = f"id{separator}prompt{separator}response\n1{separator}3,5 kg{separator}hi\n".encode()
    found = prepared(content, tmp_path, "a.csv")
    found.require_valid()
    assert json.loads(Path(found.training.path or "").read_text()) == pair("3,5 kg", "hi")


@pytest.mark.parametrize(
    ("rows", "line", "formats"),
    [
        ([pair()] + [chat(("user", "a"), ("assistant", "b"))] * 30, 2, ("chat completions", "Gemini")),
        ([chat(("user", "a"), ("assistant", "b"))] * 2 + [pair()] * 30, 3, ("Gemini", "chat completions")),
        ([{"text_input": "a", "output": "b"}, {"instruction": "a", "output": "b"}], 2, ("Alpaca", "AI Studio")),
    ],
)
def test_a_file_of_two_formats_is_one_error(rows: list[Any], line: int, formats: tuple[str, str]) -> None:
    message = error_of(lines(rows))
    assert f"line {line}: found a row of another format ({formats[0]}" in message
    assert f"({formats[1]}" in message


@pytest.mark.parametrize(
    ("content", "name"), [(lines([pair("a", "nan")]), "a.jsonl"), (b"prompt,response\na,NaN\n", "a.csv")]
)
def test_nan_as_an_answer_is_a_warning(content: bytes, name: str) -> None:
    found = prepared(content, name=name)
    assert (found.error_count, warned(found)) == (0, [("nan", "contents[1].parts")])
