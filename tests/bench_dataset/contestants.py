"""Ways to read a dataset file of Gemini rows. Each takes a path and gives the number of rows it has seen."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from vertex_tuning.datasets.prepare import DatasetOptions, Row, Source, prepare


def ours(path: Path, processes: int = 1) -> int:
    """Everything: all checks, statistics, hashes, comparison of all examples."""
    with tempfile.TemporaryDirectory() as folder:
        found = prepare([Source.local(path)], options=DatasetOptions(), folder=Path(folder), processes=processes)
    found.require_valid()
    return found.training.rows


def ours_twice(path: Path) -> int:
    """The same in two processes."""
    return ours(path, processes=2)


def json_loads(path: Path) -> int:
    """A bare loop of the standard library's."""
    rows = 0
    with path.open("rb") as file:
        for line in file:
            json.loads(line)
            rows += 1
    return rows


def typed_msgspec(path: Path) -> int:
    """A bare loop of typed decoding, and no more checks than types are."""
    rows, decode = 0, msgspec.json.Decoder(Row).decode
    with path.open("rb") as file:
        for line in file:
            decode(line)
            rows += 1
    return rows


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1)


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["user", "model"]
    parts: list[_Part] = Field(min_length=1)


class _System(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: str | None = None
    parts: list[_Part] = Field(min_length=1)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")
    systemInstruction: _System | None = None  # noqa: N815 - the service's name
    contents: list[_Turn] = Field(min_length=2)


def pydantic_models(path: Path) -> int:
    """Models with the rules that models can say."""
    rows = 0
    with path.open("rb") as file:
        for line in file:
            _Row.model_validate_json(line)
            rows += 1
    return rows


def cookbook_checker(path: Path) -> int:
    """What the fine-tuning guide of OpenAI's cookbook checks (https://cookbook.openai.com/examples/chat_finetuning_data_prep),
    said of Gemini rows, as such scripts are written: all rows in a list, then rule after rule, errors counted by kind;
    then how many turns and characters the rows have. Tokens are not counted."""
    with path.open(encoding="utf-8") as file:
        dataset = [json.loads(line) for line in file]
    errors: Counter[str] = Counter()
    for example in dataset:
        _check_example(example, errors)
    if errors:
        raise ValueError(dict(errors))
    _describe(dataset)
    return len(dataset)


def _check_example(example: Any, errors: Counter[str]) -> None:
    if not isinstance(example, dict):
        errors["data_type"] += 1
        return
    turns = example.get("contents", None)
    if not turns:
        errors["missing_contents"] += 1
        return
    for turn in turns:
        if "role" not in turn or "parts" not in turn:
            errors["turn_missing_key"] += 1
        if any(key not in ("role", "parts") for key in turn):
            errors["turn_unrecognized_key"] += 1
        if turn.get("role", None) not in ("user", "model"):
            errors["unrecognized_role"] += 1
        for part in turn.get("parts", []):
            text = part.get("text", None)
            if not text or not isinstance(text, str):
                errors["missing_text"] += 1
    if not any(turn.get("role", None) == "model" for turn in turns):
        errors["example_missing_model_turn"] += 1


def _describe(dataset: list[Any]) -> dict[str, float]:
    missing_system, turns, lengths, answers = 0, [], [], []
    for example in dataset:
        if "systemInstruction" not in example:
            missing_system += 1
        turns.append(len(example["contents"]))
        lengths.append(sum(len(part["text"]) for turn in example["contents"] for part in turn["parts"]))
        answers.append(sum(len(part["text"]) for part in example["contents"][-1]["parts"]))
    means = {
        name: sum(values) / len(values) for name, values in (("turns", turns), ("all", lengths), ("answer", answers))
    }
    return {"missing_system": missing_system, **means}
