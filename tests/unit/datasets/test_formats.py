"""Other formats than Gemini's become Gemini rows, or say by line why they do not."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from vertex_tuning.datasets.formats import recognise
from vertex_tuning.datasets.options import ColumnNames
from vertex_tuning.datasets.prepare import DatasetOptions, Source, prepare

from tests.support.dataset_files import lines, pair, prepared, row, source
from tests.support.paths import BANKING77


def messages(*items: tuple[str, Any], **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in items], **others}


LEGACY = messages(("system", "Be kind."), ("user", "hello"), ("model", "hi"))
CHAT = messages(("developer", "Be kind."), ("user", [{"type": "text", "text": "hello"}]), ("assistant", "hi"))
CALLS = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [{}]}]}
KIND: dict[str, Any] = {"systemInstruction": {"parts": [{"text": "Be kind."}]}}


def rows_of(path: str | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


@pytest.mark.parametrize(("given", "name"), [(LEGACY, "messages"), (CHAT, "chat")])
def test_messages_become_contents(given: Any, name: str, tmp_path: Path) -> None:
    found = prepared(lines([given] * 2), tmp_path)
    assert (found.training.format, found.training.converted, found.error_count) == (name, 2, 0)
    assert rows_of(found.training.path) == [pair(**KIND)] * 2


@pytest.mark.parametrize(
    ("kind", "path", "bad"),
    [
        ("type", "messages", {"messages": "hello"}),
        ("type", "messages[0]", {"messages": ["hello"]}),
        ("role", "messages[1].role", messages(("user", "a"), ("tool", "b"))),
        ("part", "messages[1].tool_calls", CALLS),
        ("empty", "messages[0].content", messages(("user", ""), ("assistant", "b"))),
        ("type", "messages[0].content", messages(("user", None), ("assistant", "b"))),
        ("part", "messages[0].content[0]", messages(("user", [{"type": "image_url"}]), ("assistant", "b"))),
        ("unknown_key", "temperature", messages(("user", "a"), ("assistant", "b"), temperature=1)),
        ("turns", "messages[1].role", messages(("system", "s"), ("user", "a"))),
        ("turns", "messages[2].role", messages(("system", "s"), ("user", "a"), ("user", "b"), ("assistant", "c"))),
        ("missing", "messages", {"text": "a"}),
        ("json", "", b"{"),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_converted_is_named_where_it_stands(kind: str, path: str, bad: Any) -> None:
    found = prepared(lines([CHAT, bad, CHAT]))
    assert [(one.kind, one.line, one.path) for one in found.shown["error"]] == [(kind, 2, path)]
    assert found.training.rows == 2


def test_csv_becomes_rows(tmp_path: Path) -> None:
    content = '\ufeffcategory,text\r\ncard,"Where, ""please""?\nNow"\r\n\r\nloan,Ça va ?\r\n'.encode()
    options: dict[str, Any] = {
        "columns": ColumnNames(prompt="text", response="category"),
        "system_instruction": "Be kind.",
    }
    found = prepared(content, tmp_path, "data.csv", **options)
    assert (found.training.format, found.training.converted, found.error_count) == ("csv", 2, 0)
    expected = [pair('Where, "please"?\nNow', "card", **KIND), pair("Ça va ?", "loan", **KIND)]
    assert rows_of(found.training.path) == expected


@pytest.mark.parametrize(
    ("record", "kind", "found"),
    [
        (b"only one", "csv", "1 fields"),
        (b"a,b,c", "csv", "3 fields"),
        (b",b", "empty", "an empty field"),
        (b"a,", "empty", "an empty field"),
        (b"a,\xff", "csv", "bytes that are not UTF-8"),
        (b'"a"x,b', "csv", "',' expected after '\"'"),
    ],
)
def test_a_bad_record_is_named_by_line(record: bytes, kind: str, found: str) -> None:
    read = prepared(b'prompt,response\n"a\nb",c\n' + record + b"\nd,e\n", name="data.csv")
    [finding] = read.shown["error"]
    assert (finding.kind, finding.line, finding.found) == (kind, 4, found)
    assert read.training.rows == 2


def test_a_quote_that_is_never_closed_is_an_error() -> None:
    found = prepared(b'prompt,response\na,"b\n' + b"c,d\n" * 100, name="data.csv")
    assert (found.counts["error"]["csv"], found.shown["error"][0].line) == (1, 2)


def test_missing_columns_are_named() -> None:
    [finding] = prepared(b"text,category\na,b\n", name="data.csv").shown["error"]
    assert str(finding) == (
        "data.csv: found 'text', 'category', expected the columns 'prompt' and 'response', once each."
    )


def test_a_given_format_is_not_guessed() -> None:
    assert prepared(b"prompt,response\na,b\n", name="data.txt", format="csv").training.rows == 1
    assert prepared(lines([{"q": "a"}]), format="chat").counts["error"]["missing"] == 1


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([pair()], "gemini"),
        ([b"", b"{", LEGACY], "messages"),
        ([CHAT], "chat"),
        ([{**row(("user", "a")), "completions": []}], "preference"),
        ([], None),
        ([b"[]", b"1"], None),
        ([{"messages": 1}], "messages"),
        ([{"prompt": "a", "response": "b", "id": 1}], "fields"),
        ([{"prompt": "a", "response": "b", **pair()}], "gemini"),
        ([{"prompt": "a"}], None),
    ],
)
def test_formats_are_recognised(rows: list[Any], name: str) -> None:
    assert recognise(lines(rows).splitlines()) == name


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ({"in": "a"}, "line 2: out: found none, expected a text."),
        ({"in": "a", "out": ""}, "line 2: out: found '', expected a text."),
        ({"in": ["a"], "out": "b"}, "line 2: in: found a list, expected a text."),
        (["a", "b"], "line 2: found a list, expected an object with the fields 'in' and 'out'."),
    ],
)
def test_named_fields_become_prompt_and_response(tmp_path: Path, second: Any, problem: str) -> None:
    good = {"in": "a", "out": "b", "id": 7}
    options = DatasetOptions(columns=ColumnNames(prompt="in", response="out"), system_instruction="Be short.")
    found = prepare([source(lines([good]), "a.jsonl")], options=options, folder=tmp_path)
    [row] = rows_of(found.training.path)
    assert row == {"systemInstruction": {"parts": [{"text": "Be short."}]}, **pair("a", "b")}
    bad = prepare([source(lines([good, second]), "a.jsonl")], options=options, folder=tmp_path)
    assert problem in bad.text("error")


def test_files_of_several_formats_become_one(tmp_path: Path) -> None:
    files = [
        source(lines([pair("a")]), "a.jsonl"),
        source(gzip.compress(lines([CHAT])), "b.jsonl.gz"),
        source(b"prompt,response\nc,d", "c.csv"),
    ]
    found = prepare(files, options=DatasetOptions(), folder=tmp_path)
    assert (found.training.format, found.training.rows, found.training.converted) == ("chat+csv+gemini", 3, 2)
    assert rows_of(found.training.path) == [pair("a"), pair(**KIND), pair("c", "d")]


@pytest.mark.parametrize("damage", [lambda packed: packed[:-12], lambda packed: b"no" + packed, lambda _: b"\x1f\x8b"])
def test_a_damaged_gzip_file_is_an_error(damage: Any) -> None:
    content = damage(gzip.compress(lines([pair(str(n)) for n in range(1000)])))
    assert prepared(content, name="a.jsonl.gz").counts["error"]["gzip"] == 1


def test_banking77_as_csv_gives_the_examples_of_its_json_lines(tmp_path: Path) -> None:
    if not BANKING77.is_dir():
        pytest.skip("shared/data/banking77 does not lie beside the project")
    expected = [json.loads(line) for line in (BANKING77 / "test.jsonl").read_bytes().splitlines()]
    instruction = expected[0]["systemInstruction"]["parts"][0]["text"]
    options = DatasetOptions(columns=ColumnNames(prompt="text", response="category"), system_instruction=instruction)
    found = prepare([Source.local(BANKING77 / "test.csv")], options=options, folder=tmp_path)
    assert rows_of(found.training.path) == expected
    (tmp_path / "plain").mkdir()
    plain = prepare([Source.local(BANKING77 / "test.jsonl")], options=DatasetOptions(), folder=tmp_path / "plain")
    assert found.error_count == plain.error_count == 0
    assert plain.training.statistics == found.training.statistics
