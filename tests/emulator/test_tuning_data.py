"""Dataset rows: which are taken, refused and dropped, and what is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.gcp_emulator.errors import InvalidArgument
from include.gcp_emulator.model.engine import count_tokens
from include.gcp_emulator.tuning.datasets import Dataset, Method, check_validation, data_stats, inspect
from include.gcp_emulator.tuning.rows import RowError, decode, preference, supervised
from tests.emulator.jobs import TRAIN, create, finished, refused, wait
from tests.emulator.vertex import Vertex
from tests.support.emulator import classification_rows


def turn(role: str | None, *parts: Any) -> dict[str, Any]:
    made = [{"text": part} if isinstance(part, str) else part for part in parts]
    return ({"role": role} if role else {}) | {"parts": made}


USER, MODEL = turn("user", "hello there"), turn("model", "hi")


def row(*contents: Any, **fields: Any) -> dict[str, Any]:
    return {"contents": list(contents)} | fields


GOOD = {
    "two turns": row(USER, MODEL),
    "roles in capitals, parts as one object": row({"role": "USER", "parts": {"text": "a"}}, turn("MODEL", "b")),
    "no role is the user": row(turn(None, "a"), MODEL),
    "several turns": row(USER, MODEL, USER, MODEL),
    "system instruction": row(USER, MODEL, systemInstruction=turn("system", "be brief")),
    "snake case": row(USER, MODEL, system_instruction=turn(None, "be brief")),
    "file": row(turn("user", {"fileData": {"mimeType": "image/png", "fileUri": "gs://a/b"}}, "what?"), MODEL),
    "function call": row(USER, turn("model", {"functionCall": {"name": "f", "args": {}}})),
    "unknown key": row(USER, MODEL, generationConfig={}),
}

BAD = {
    "no contents": ({}, "Missing required 'contents' field."),
    "empty contents": (row(), "Missing required 'contents' field."),
    "legacy messages": ({"messages": []}, "Missing required 'contents' field."),
    "contents is text": ({"contents": "hi"}, "'contents' must be a list."),
    "assistant": (row(USER, turn("assistant", "hi")), "Invalid role 'assistant' in contents[1]"),
    "ends with the user": (row(USER), "must have the role 'model'"),
    "turn is text": (row("hi", MODEL), "contents[0] must be an object."),
    "no parts": (row(turn("user"), MODEL), "contents[0] must have at least one entry in 'parts'."),
    "part is text": (row({"parts": ["hi"]}, MODEL), "contents[0].parts[0] must be an object."),
    "empty part": (row({"parts": [{}]}, MODEL), "exactly one of text"),
    "two things in a part": (row(turn("user", {"text": "a", "fileData": {}}), MODEL), "exactly one of text"),
    "text is a number": (row(turn("user", {"text": 1}), MODEL), "contents[0].parts[0].text has the wrong type."),
    "system is text": (row(USER, MODEL, systemInstruction="be brief"), "'systemInstruction' must be an object."),
}


@pytest.mark.parametrize("given", GOOD.values(), ids=GOOD.keys())
def test_good_rows(given: dict[str, Any]) -> None:
    made = supervised(given)
    assert made.body["contents"][-1]["role"] == "model"
    assert made.input_tokens > 0
    assert made.output_tokens > 0


@pytest.mark.parametrize(("given", "text"), BAD.values(), ids=BAD.keys())
def test_bad_rows(given: dict[str, Any], text: str) -> None:
    with pytest.raises(RowError) as caught:
        supervised(given)
    assert text in str(caught.value)


@pytest.mark.parametrize("line", [b"{", b"[]", b"1", b"\xff", b'{"a": "\\ud800"}', b"[" * 5000])
def test_lines_that_are_no_object(line: bytes) -> None:
    with pytest.raises(RowError):
        decode(line)


def test_tokens_and_characters_are_the_texts_own() -> None:
    made = supervised(row(USER, MODEL, systemInstruction=turn(None, "be brief")))
    assert made.input_tokens == count_tokens("be brief") + count_tokens("hello there")
    assert made.output_tokens == count_tokens("hi")
    assert made.characters == len("be brief" + "hello there" + "hi")
    assert made.messages == 2


def test_messages_of_gemini_1_0_become_contents() -> None:
    messages = [{"role": role, "content": text} for role, text in (("system", "s"), ("user", "u"), ("model", "m"))]
    made = supervised(decode(json.dumps({"messages": messages}).encode(), legacy=True))
    assert made.body == {
        "contents": [turn("user", "u"), turn("model", "m")],
        "systemInstruction": {"parts": [{"text": "s"}]},
    }


def completion(score: Any, text: str = "x", role: str = "model") -> dict[str, Any]:
    return {"score": score, "completion": turn(role, text)}


def test_a_preference_row() -> None:
    made = preference(row(USER, completions=[completion(0), completion(1)]))
    assert made.scores == (0.0, 1.0)


@pytest.mark.parametrize(
    "given",
    [
        row(USER),
        row(USER, completions=[completion(1)]),
        row(USER, completions=[completion(1), completion(1)]),
        row(USER, completions=[completion("1"), completion(0)]),
        row(USER, completions=[completion(1), completion(0, role="user")]),
        row(USER, completions=[1, 2]),
        row(USER, MODEL, completions=[completion(1), completion(0)]),
    ],
)
def test_bad_preference_rows(given: dict[str, Any]) -> None:
    with pytest.raises(RowError):
        preference(given)


def inspected(tmp_path: Path, rows: list[Any], method: Method = "supervised") -> Dataset:
    source = tmp_path / "source"
    source.write_text("\n".join(json.dumps(item) for item in rows))
    return inspect(source, tmp_path / "target.jsonl", method)


def test_statistics_are_those_of_the_rows(tmp_path: Path) -> None:
    texts = ["one", "one two", "one two three " * 60]
    dataset = inspected(tmp_path, [row(turn("user", text), MODEL) for text in texts])
    stats = data_stats(dataset, "supervised")["supervisedTuningDataStats"]
    tokens = [count_tokens(text) for text in texts]
    given = stats["userInputTokenDistribution"]
    assert stats["tuningDatasetExampleCount"] == "3"
    assert stats["totalBillableTokenCount"] == str(sum(tokens) + 3 * count_tokens("hi"))
    assert given["sum"] == given["billableSum"] == str(sum(tokens))
    assert (given["min"], given["max"], given["median"]) == (min(tokens), max(tokens), tokens[1])
    assert given["mean"] == pytest.approx(np.mean(tokens))
    assert sum(bucket["count"] for bucket in given["buckets"]) == 3
    assert given["buckets"][0]["left"] == min(tokens)
    assert given["buckets"][-1]["right"] == max(tokens)
    assert len(stats["userDatasetExamples"]) == 6
    assert stats["userDatasetExamples"][4]["parts"][0]["text"] == texts[2][:400] + "..."


def test_rows_that_are_too_long_are_dropped_and_reported(tmp_path: Path) -> None:
    rows = [row(USER, MODEL), row(turn("user", "word " * 140_000), MODEL), row(USER, MODEL)]
    dataset = inspected(tmp_path, rows)
    stats = data_stats(dataset, "supervised")["supervisedTuningDataStats"]
    assert stats["tuningDatasetExampleCount"] == "2"
    assert stats["totalTruncatedExampleCount"] == "1"
    assert stats["truncatedExampleIndices"] == ["2"]
    assert "131072" in stats["droppedExampleReasons"][0]
    assert len(dataset.path.read_text().splitlines()) == 2


def test_dropped_preference_rows_are_reported_too(tmp_path: Path) -> None:
    answers = [completion(1, "good"), completion(0, "bad")]
    rows = [row(turn("user", said), completions=answers) for said in ("hi", "hi", "word " * 140_000)]
    stats = data_stats(inspected(tmp_path, rows, "preference"), "preference")["preferenceOptimizationDataStats"]
    assert (stats["tuningDatasetExampleCount"], stats["droppedExampleIndices"]) == ("2", ["3"])
    assert "131072" in stats["droppedExampleReasons"][0]


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no valid examples"):
        inspected(tmp_path, [])


def sized(rows: int) -> Dataset:
    dataset = Dataset(Path())
    dataset.inputs.extend([1] * rows)
    return dataset


@pytest.mark.parametrize(("training", "validation"), [(10, 1000), (10_000, 3000), (100_000, 5000)])
def test_validation_sizes_that_are_taken(training: int, validation: int) -> None:
    check_validation(sized(training), sized(validation))


@pytest.mark.parametrize(("training", "validation"), [(3000, 1001), (100_000, 5001)])
def test_validation_sizes_that_are_refused(training: int, validation: int) -> None:
    with pytest.raises(InvalidArgument, match="validation dataset"):
        check_validation(sized(training), sized(validation))


# The same through the service


def test_a_wrong_row_is_refused_at_create_by_its_number(vertex: Vertex) -> None:
    vertex.upload("gs://rows/bad.jsonl", [row(USER, MODEL), {"prompt": "x"}])
    error = refused(vertex, trainingDatasetUri="gs://rows/bad.jsonl")
    assert error["message"] == "Row: 1. Missing required 'contents' field."


def test_nothing_is_left_of_a_refused_job(vertex: Vertex) -> None:
    vertex.upload("gs://rows/bad.jsonl", [{}])
    before = vertex.client.get("/_internal/state").json().get("tuningJobs", {})
    refused(vertex, trainingDatasetUri="gs://rows/bad.jsonl")
    assert vertex.client.get("/_internal/state").json().get("tuningJobs", {}) == before


def test_messages_are_taken_for_gemini_1_0_alone(vertex: Vertex) -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "model", "content": "hi"}]
    uri = vertex.upload("gs://rows/legacy.jsonl", [{"messages": messages}] * 8)
    assert "contents" in refused(vertex, trainingDatasetUri=uri)["message"]
    finished(vertex, trainingDatasetUri=uri, baseModel="gemini-1.0-pro-002")


def test_a_job_shows_what_it_was_trained_on(vertex: Vertex, tuned: dict[str, Any]) -> None:
    stats = tuned["tuningDataStats"]["supervisedTuningDataStats"]
    assert stats["tuningDatasetExampleCount"] == "60"
    assert stats["totalTruncatedExampleCount"] == "0"
    assert int(stats["tuningStepCount"]) == int(tuned["tuningJobMetadata"]["completedStepCount"]) > 0


def test_a_job_keeps_the_data_it_was_created_with(vertex: Vertex) -> None:
    uri = vertex.upload("gs://rows/changing.jsonl", classification_rows(30))
    vertex.client.post("/_internal/lifecycle", json={"displayName": "changing", "manual": True})
    name = create(vertex, trainingDatasetUri=uri, tunedModelDisplayName="changing")["name"]
    vertex.client.delete("/storage/v1/b/rows/o/changing.jsonl").raise_for_status()
    for _ in range(3):
        vertex.client.post(f"/_internal/tuningJobs/{name.rsplit('/', 1)[-1]}:advance").raise_for_status()
    job = wait(vertex, name)
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["tuningDataStats"]["supervisedTuningDataStats"]["tuningDatasetExampleCount"] == "30"


def test_preference_tuning(vertex: Vertex, datasets: None) -> None:
    rows = [row(USER, completions=[completion(1, "good"), completion(0, "bad")]) for _ in range(20)]
    uri = vertex.upload("gs://rows/preference.jsonl", rows)
    spec = {"trainingDatasetUri": uri, "hyperParameters": {"beta": 0.2, "epochCount": 2}}
    job = finished(vertex, supervisedTuningSpec=None, preferenceOptimizationSpec=spec)
    assert job["preferenceOptimizationSpec"]["hyperParameters"]["beta"] == 0.2
    stats = job["tuningDataStats"]["preferenceOptimizationDataStats"]
    assert stats["tuningDatasetExampleCount"] == "20"
    assert stats["scoresDistribution"]["mean"] == 0.5
    assert stats["scoreVariancePerExampleDistribution"]["max"] == 0.25


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"baseModel": "gemini-2.5-pro"}, "Preference tuning is not supported for base model gemini-2.5-pro."),
        ({"hyperParameters": {"beta": 0}}, "beta must be over 0"),
        ({"trainingDatasetUri": TRAIN}, "Row: 0. The last entry of 'contents' must have the role 'user'."),
    ],
)
def test_preference_refusals(vertex: Vertex, datasets: None, fields: dict[str, Any], text: str) -> None:
    spec = {"trainingDatasetUri": TRAIN, "hyperParameters": fields.pop("hyperParameters", {})}
    error = refused(vertex, supervisedTuningSpec=None, preferenceOptimizationSpec=spec, **fields)
    assert text in error["message"]
