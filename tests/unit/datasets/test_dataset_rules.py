"""Each rule for rows and for whole datasets, with something that breaks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vertex_tuning.datasets import dataset_rules, limits
from vertex_tuning.datasets.fast_path import PlainMeasure
from vertex_tuning.datasets.findings import Problem
from vertex_tuning.datasets.prepare import DatasetOptions, Prepared, Source, prepare
from vertex_tuning.datasets.validator import examine
from vertex_tuning.exceptions import DatasetError

from tests.support.dataset_files import lines, pair, prepared, row, source

CALL = {"functionCall": {"name": "find", "args": {"city": "Oslo"}}}
RESPONSE = {"functionResponse": {"name": "find", "response": {"rain": True}}}
IMAGE = {"fileData": {"mimeType": "image/png", "fileUri": "gs://bucket/one.png"}}


def turns(*parts: Any) -> dict[str, Any]:
    """A row whose user turn has these parts."""
    return {"contents": [{"role": "user", "parts": list(parts)}, {"role": "model", "parts": [{"text": "yes"}]}]}


def problems(given: Any, *, cut: bool = False) -> list[Problem]:
    line = given if isinstance(given, bytes) else json.dumps(given).encode()
    return examine(line, cut=cut).problems


GOOD = [
    pair(),
    pair(systemInstruction={"parts": [{"text": "Be kind."}]}),
    pair(system_instruction={"role": "system", "parts": [{"text": "Be kind."}]}),
    pair(systemInstruction=None),
    row(("USER", "a"), ("Model", "b"), ("user", "c"), ("model", "d")),
    turns({"text": "What is it?"}, IMAGE),
    turns({"fileData": {"mimeType": "video/mp4", "fileUri": "https://host/a.mp4"}, "mediaResolution": "HIGH"}),
    turns({"file_data": {"mime_type": "image/png", "file_uri": "http://host/one.png"}}),
    {
        "tools": [{"functionDeclarations": [{"name": "find", "parameters": {"type": "OBJECT"}}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "Does it rain?"}]},
            {"role": "model", "parts": [CALL]},
            {"role": "user", "parts": [RESPONSE]},
            {"role": "model", "parts": [{"text": "It does."}]},
        ],
    },
]


@pytest.mark.parametrize("good", GOOD)
def test_a_good_row_has_no_problem(good: Any) -> None:
    examined = examine(json.dumps(good).encode())
    assert examined.problems == []
    assert examined.measured is not None


BAD: list[tuple[str, str, Any]] = [
    ("encoding", "", b'{"contents": "\xff"}'),
    ("json", "", b"not json"),
    ("json", "", b'{"contents": NaN}'),
    ("json", "", b'{"contents": [Infinity]}'),
    ("json", "", json.dumps(pair("\ud800")).encode()),
    ("json", "", json.dumps(pair()).encode() * 2),
    ("json", "", b'{"contents": "a\x00b"}'),
    ("nesting", "", b'{"contents":' + b"[" * 100_000),
    ("line_length", "", b" " * limits.MAX_LINE + b"{}"),
    ("type", "", []),
    ("type", "", None),
    ("missing", ".contents", {}),
    ("type", ".contents", {"contents": {"role": "user"}}),
    ("missing", ".contents", {"contents": None}),
    ("empty", ".contents", {"contents": []}),
    ("type", ".contents[0]", {"contents": ["hello"]}),
    ("role", ".contents[1].role", row(("user", "a"), ("assistant", "b"))),
    ("role", ".contents[0].role", {"contents": [{"role": 7, "parts": [{"text": "a"}]}]}),
    ("turns", ".contents[0].role", row(("user", "a"))),
    ("turns", ".contents[1].role", row(("user", "a"), ("user", "b"), ("model", "c"))),
    ("turns", ".contents[2].role", row(("user", "a"), ("model", "b"), ("user", "c"))),
    ("turns", ".contents", row(("model", "a"))),
    ("missing", ".contents[0].parts", {"contents": [{"role": "user"}, *row(("model", "b"))["contents"]]}),
    ("empty", ".contents[0].parts", turns()),
    ("type", ".contents[0].parts", {"contents": [{"role": "user", "parts": {"text": "a"}}]}),
    ("type", ".contents[0].parts[0]", turns("hello")),
    ("part", ".contents[0].parts[0]", turns({})),
    ("part", ".contents[0].parts[0]", turns({"inlineData": {"data": "AA=="}})),
    ("part", ".contents[0].parts[0]", turns({"text": "a", **IMAGE})),
    ("empty", ".contents[0].parts[0].text", pair("")),
    ("part", ".contents[0].parts[0]", turns({"text": None})),
    ("type", ".generationConfig", pair(generationConfig="low")),
    ("repeated_key", ".contents", b'{"contents": 1, "contents": 2}'),
    ("repeated_key", ".contents[0].role", json.dumps(pair()).replace('"role"', '"role": "x", "role"', 1).encode()),
    ("type", ".contents[0].parts[0].text", turns({"text": 5})),
    ("type", ".contents[0].parts[0].fileData", turns({"fileData": "gs://bucket/one.png"})),
    ("file", ".contents[0].parts[0].fileData.mimeType", turns({"fileData": {"fileUri": "gs://bucket/one.png"}})),
    ("uri", ".contents[0].parts[0].fileData.fileUri", turns({"fileData": {"mimeType": "image/png"}})),
    (
        "uri",
        ".contents[0].parts[0].fileData.fileUri",
        turns({"fileData": {"mimeType": "image/png", "fileUri": "file:///etc/passwd"}}),
    ),
    ("type", ".contents[0].parts[0].functionCall", turns({"functionCall": "find"})),
    ("function", ".contents[0].parts[0].functionCall.name", turns({"functionCall": {"args": {}}})),
    ("function", ".contents[0].parts[0].functionCall.args", turns({"functionCall": {"name": "f", "args": 1}})),
    ("function", ".contents[0].parts[0].functionResponse.response", turns({"functionResponse": {"name": "f"}})),
    ("type", ".systemInstruction", pair(systemInstruction="Be kind.")),
    ("empty", ".systemInstruction.parts", pair(systemInstruction={"parts": []})),
    ("part", ".systemInstruction.parts[0]", pair(systemInstruction={"parts": [IMAGE]})),
    ("type", ".systemInstruction.role", pair(systemInstruction={"role": 1, "parts": [{"text": "a"}]})),
    (
        "system",
        ".system_instruction",
        pair(systemInstruction={"parts": [{"text": "a"}]}, system_instruction={"parts": [{"text": "a"}]}),
    ),
    ("type", ".tools", pair(tools={})),
    ("type", ".tools[0]", pair(tools=["find"])),
    ("tools", ".tools[0]", pair(tools=[{"googleSearch": {}}])),
    ("function", ".tools[0].functionDeclarations[0].name", pair(tools=[{"functionDeclarations": [{}]}])),
    ("tokens", "", pair("word " * limits.MAX_EXAMPLE_TOKENS)),
]


@pytest.mark.parametrize(("kind", "path", "bad"), BAD)
def test_a_bad_row_is_refused(kind: str, path: str, bad: Any) -> None:
    line = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    examined = examine(line)
    assert examined.measured is None
    assert (kind, path) in [(problem.kind, problem.path) for problem in examined.problems if not problem.warning]
    assert PlainMeasure().measure([line])[0] is None, "the quick way may never be laxer"


ODD: list[tuple[str, str, Any]] = [
    ("unknown_key", ".safetySettings", pair(safetySettings=[])),
    ("nan", ".contents[1].parts", pair("a", "NaN")),
    (
        "role",
        ".contents[2].role",
        {"contents": [*pair()["contents"], {"parts": [{"text": "a"}]}, pair()["contents"][1]]},
    ),
    ("unknown_key", ".contents[0].name", {"contents": [{**pair()["contents"][0], "name": "x"}, pair()["contents"][1]]}),
    ("unknown_key", ".contents[0].parts[0].thought", turns({"text": "a", "thought": True})),
    ("unknown_key", r"['a\n\x1b[2J']", {**pair(), "a\n\x1b[2J": 1}),
    ("first_turn", ".contents[0].role", row(("model", "Hello!"), ("user", "a"), ("model", "b"))),
    ("blank_text", ".contents[1].parts", pair("a", " \n")),
]


@pytest.mark.parametrize(("kind", "path", "odd"), ODD)
def test_an_odd_row_is_used_and_warned_about(kind: str, path: str, odd: Any) -> None:
    examined = examine(json.dumps(odd).encode())
    assert examined.measured is not None
    assert [(problem.kind, problem.path) for problem in examined.problems if problem.warning] == [(kind, path)]
    assert PlainMeasure().measure([json.dumps(odd).encode()])[0] is None


PREFERENCE = {
    **row(("user", "a")),
    "completions": [{"score": score, "completion": row(("model", f"{score}"))["contents"][0]} for score in (1, 0)],
}


@pytest.mark.parametrize("value", ["", "x", [], [{}], [{"text": "a"}], True, 3, {}, PREFERENCE["completions"]])
def test_a_row_with_completions_is_told_by_its_line(value: Any, tmp_path: Path) -> None:
    rows = [pair(f"question {n}") for n in range(20)]
    rows[7]["completions"] = value
    found = prepared(lines(rows), tmp_path)
    [finding] = found.shown["error"]
    assert (finding.kind, finding.line, finding.path) == ("preference", 8, "completions")
    assert "this product makes supervised tuning jobs" in str(finding)
    dropped = prepared(lines(rows), tmp_path, on_invalid_row="drop", max_dropped_share=0.5)
    assert (dropped.error_count, dropped.training.rows) == (0, 19)


def test_a_file_of_preference_rows_is_one_error(tmp_path: Path) -> None:
    [finding] = prepared(lines([PREFERENCE] * 30), tmp_path).shown["error"]
    assert "found preference rows, expected supervised rows; this product makes supervised tuning jobs" in str(finding)


UNKNOWN: dict[str, Any] = {f"field_{number}": number for number in range(40)}
BAD_BEHIND: list[Any] = [
    {**UNKNOWN, "contents": []},
    UNKNOWN,
    {**UNKNOWN, "contents": [{"role": "user", "parts": [{"text": "no answer"}]}]},
    {**UNKNOWN, "contents": [{**UNKNOWN, "role": "user"}, {"role": "model", "parts": []}]},
    turns(*[{"text": "x", **UNKNOWN}] * 3, {"fileData": {}}),
    pair(**UNKNOWN, tools=3),
    pair(**UNKNOWN, systemInstruction={**UNKNOWN, "parts": [{"text": ""}]}),
    pair("x" * 4 * (limits.MAX_EXAMPLE_TOKENS + 1), **UNKNOWN),
    {**UNKNOWN, "contents": pair()["contents"][:1], "completions": [{}, {}]},
]


@pytest.mark.parametrize("bad", BAD_BEHIND)
def test_an_error_is_found_behind_any_number_of_warnings(bad: Any, tmp_path: Path) -> None:
    found = examine(json.dumps(bad).encode())
    assert found.measured is None
    assert any(not problem.warning for problem in found.problems)
    assert len(found.problems) <= 20
    dataset = prepared(lines([*[pair(f"question {n}") for n in range(3)], bad]), tmp_path)
    assert dataset.error_count
    assert any(finding.line == 4 for finding in dataset.shown["error"])


def test_warnings_alone_refuse_no_row_however_many() -> None:
    found = examine(json.dumps(pair(**UNKNOWN)).encode())
    assert found.measured is not None
    assert len(found.problems) == 10


def test_a_row_of_a_million_errors_is_left_after_the_first() -> None:
    found = examine(json.dumps(turns(*[{}] * 100_000)).encode())
    assert len(found.problems) == 10


def test_a_cut_last_line_is_called_so() -> None:
    found = prepared(lines([pair()]) + json.dumps(pair()).encode()[:-10])
    assert found.counts["error"] == {"truncated": 1}
    assert found.shown["error"][0].line == 2


def test_a_last_line_without_an_end_is_a_row() -> None:
    assert prepared(lines([pair()]) + json.dumps(pair("a")).encode()).training.rows == 2


def test_blank_lines_are_warned_about_and_no_rows() -> None:
    found = prepared(lines([pair(), b"", b"  ", pair("a")]))
    assert (found.training.rows, found.training.blank_lines, found.counts["error"]) == (2, 2, {})
    assert found.counts["warning"] == {"blank_line": 2}


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    found = prepared(b"\xef\xbb\xbf" + lines([pair()]), tmp_path)
    assert found.error_count == 0
    assert Path(found.training.path or "").read_bytes() == lines([pair()])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \n"])
def test_an_empty_file_is_refused(content: bytes) -> None:
    assert "no_rows" in prepared(content).counts["error"]


def test_texts_in_findings_are_short_and_escaped() -> None:
    found = prepared(lines([row(("user", "a"), ("\x1b[2J" + "x" * 10_000, "b"))]))
    text = str(found.shown["error"][0])
    assert "\x1b" not in text
    assert len(text) < 300


def both(training: list[Any], validation: list[Any], folder: Path) -> Prepared:
    sets = source(lines(training)), source(lines(validation), "validation.jsonl")
    return prepare([sets[0]], [sets[1]], options=DatasetOptions(), folder=folder)


def test_duplicates_contradictions_and_leaks_are_warned_about(tmp_path: Path) -> None:
    training = [pair("a", "1"), pair("b", "1"), pair("a", "1"), pair("b", "2"), pair("c", "3")]
    found = both(training, [pair("c", "3"), pair("d", "4")], tmp_path)
    assert found.error_count == 0
    told = [(finding.kind, finding.file, finding.line, finding.found) for finding in found.shown["warning"]]
    assert told[:3] == [
        ("duplicate", "train.jsonl", 3, "the same example as line 1"),
        ("contradiction", "train.jsonl", 4, "another answer than line 2 to the same prompt"),
        ("leak", "validation.jsonl", 1, "the same example as line 5 of train.jsonl, which is in another set"),
    ]


def test_an_example_is_the_same_however_it_is_written() -> None:
    spaced = json.dumps(pair("a", "é"), indent=None, ensure_ascii=True, separators=(" , ", " : ")).encode()
    plain = json.dumps({"contents": pair("a", "é")["contents"]}, ensure_ascii=False).encode()
    in_parts = turns({"text": "a"})
    in_parts["contents"][1] = {"role": "MODEL", "parts": [{"text": "é"}], "x": 1}
    found = prepared(lines([spaced, plain, in_parts]))
    assert found.counts["warning"]["duplicate"] == 2


def test_one_sided_rare_and_similar_labels_are_warned_about() -> None:
    rows = [pair(f"question {n}", "billing") for n in range(96)] + [pair(f"x{n}", "Billing ") for n in range(4)]
    found = prepared(lines(rows))
    assert set(found.counts["warning"]) == {"one_sided_labels", "rare_labels", "similar_labels"}


def test_labels_that_one_set_lacks_are_warned_about(tmp_path: Path) -> None:
    training = [pair(f"t{n}", "ab"[n % 2]) for n in range(100)]
    found = both(training, [pair(f"v{n}", "ac"[n % 2]) for n in range(20)], tmp_path)
    assert set(found.counts["warning"]) == {"unknown_labels", "empty_labels"}


def test_long_answers_are_no_labels() -> None:
    assert prepared(lines([pair(f"q{n}", "long " * 20) for n in range(50)])).training.labels == {}


def test_rows_far_longer_or_shorter_than_the_others_are_warned_about() -> None:
    rows = [pair(f"{n} " * 100, f"answer {n}") for n in range(100)]
    found = prepared(lines([*rows, pair("word " * 2000, "long one"), pair("a", "b")]))
    told = [(finding.kind, finding.line) for finding in found.shown["warning"]]
    assert told == [("long_outlier", 101), ("short_outlier", 102)]


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ((10, limits.MAX_DATASET_BYTES, 0), []),
        ((10, limits.MAX_DATASET_BYTES + 1, 0), ["bytes"]),
        ((limits.MAX_ROWS + 1, 10, 0), ["rows"]),
        ((limits.MAX_MULTIMODAL_ROWS + 1, 10, 0), []),
        ((limits.MAX_MULTIMODAL_ROWS + 1, 10, 1), ["rows"]),
        ((0, 0, 0), ["no_rows"]),
    ],
)
def test_size_limits(arguments: tuple[int, int, int], kinds: list[str]) -> None:
    assert [finding.kind for finding in dataset_rules.size_limits("a", *arguments)] == kinds


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ((1000, 10, 1, 100), []),
        ((1001, 10, 3000, 100), ["validation_rows"]),
        ((1001, 10, 4000, 100), []),
        ((5001, 10, 1_000_000, 100), ["validation_rows"]),
        ((100, 26, 400, 100), ["validation_bytes"]),
    ],
)
def test_validation_limits(arguments: tuple[int, int, int, int], kinds: list[str]) -> None:
    assert [finding.kind for finding in dataset_rules.validation_limits("a", *arguments)] == kinds


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", b"text,response\na,b\n", "columns"),
        ("a.csv", b"", "no_rows"),
        ("a.csv", b"prompt,response\n", "no_rows"),
        ("a.jsonl.gz", b"not gzip", "gzip"),
    ],
)
def test_a_file_without_rows_has_one_error_that_says_why(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    folder = tmp_path / "out"
    folder.mkdir()
    found = prepare([Source.local(tmp_path / name, name)], options=DatasetOptions(), folder=folder)
    assert found.counts["error"] == {kind: 1}
    with pytest.raises(DatasetError, match="found 1 error\\."):
        found.require_valid()
