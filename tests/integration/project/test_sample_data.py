"""The sample dataset: what its program makes, what the service takes, learnable but not trivial."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.data.support_triage import generate
from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.prompts import Prompt, Turn
from include.gcp_emulator.model.sampling import Answer, Sampling, write
from include.gcp_emulator.model.training import Evaluation, Event, TrainRequest, train

FOLDER = Path(generate.__file__).parent
FILES = ("training.jsonl", "validation.jsonl", "test.jsonl")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def message(row: dict[str, Any]) -> str:
    return str(row["contents"][0]["parts"][0]["text"])


def label(row: dict[str, Any]) -> str:
    return str(row["contents"][1]["parts"][0]["text"])


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_program_writes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == generate.files()[name]


def test_the_program_runs_as_the_readme_says(project_dir: Path) -> None:
    before = {name: (FOLDER / name).read_bytes() for name in FILES}
    command = [sys.executable, "-m", "include.data.support_triage.generate"]
    subprocess.run(command, cwd=project_dir, check=True, timeout=60)
    assert {name: (FOLDER / name).read_bytes() for name in FILES} == before


def test_another_seed_gives_other_messages() -> None:
    assert generate.files(1)["training.jsonl"] != generate.files(2)["training.jsonl"]


@pytest.mark.parametrize("name", FILES)
def test_rows_have_the_shape_of_a_tuning_dataset(name: str) -> None:
    for row in rows(name):
        assert set(row) == {"systemInstruction", "contents"}
        assert [turn["role"] for turn in row["contents"]] == ["user", "model"]
        assert label(row) in generate.LABELS
        assert label(row) in row["systemInstruction"]["parts"][0]["text"]
        assert 8 <= len(message(row)) <= 500
        assert not {"(", ")", "|", "{", "}"} & set(message(row)), "a template was not filled in"


def test_sizes_are_those_the_service_recommends() -> None:
    """600 rows or more, five classes or more; validation at most a quarter of the bytes; 500 rows to compare."""
    training, validation, test = map(rows, FILES)
    assert len(test) >= 500
    assert min(Counter(map(label, test)).values()) > 0.12 * len(test)
    assert len(training) >= 600
    assert 0.13 <= len(validation) / len(training) <= 0.17
    assert (FOLDER / FILES[1]).stat().st_size <= 0.25 * (FOLDER / FILES[0]).stat().st_size
    counts = Counter(map(label, training))
    assert len(counts) >= 5
    assert min(counts.values()) > 0.12 * len(training)


def test_no_message_is_there_twice_and_none_is_in_two_files() -> None:
    texts = [message(row).casefold() for name in FILES for row in rows(name)]
    assert len(set(texts)) == len(texts)


def tuned(epochs: int, output: Path, seed: int = 1) -> tuple[Model, list[Event]]:
    """The model after so many epochs with multiplier 1 and adapter size 4, and what training reported."""
    request = TrainRequest(
        job="sample",
        training=FOLDER / FILES[0],
        validation=FOLDER / FILES[1],
        method="supervised",
        epochs=epochs,
        learning_rate_multiplier=1.0,
        adapter_rank=4,
        beta=0.1,
        base_weights=None,
        output_dir=output,
        last_checkpoint_only=True,
        step_seconds=0.0,
        seed=seed,
    )
    events = [event for event in train(request) if event is not None]
    return Model.load(output / "checkpoint-1.npz"), events


def exact(model: Model, pairs: list[tuple[str, str]]) -> float:
    """Share of messages that are answered with exactly their label."""
    right = 0
    for text, wanted in pairs:
        answer = Answer()
        prompt = Prompt(generate.INSTRUCTION, (Turn("user", text),))
        right += "".join(write(model, prompt, Sampling(temperature=0), np.random.default_rng(0), answer)) == wanted
    return right / len(pairs)


def unseen(count: int = 600) -> list[tuple[str, str]]:
    """Messages of the same kind that are in no file."""
    known = {message(row).casefold() for name in FILES for row in rows(name)}
    drawn = (pair for pair in generate.examples(seed=7) if pair[0].casefold() not in known)
    return list(islice(drawn, count))


def test_a_sensible_tuning_gets_about_nine_in_ten_right_and_one_epoch_far_fewer(tmp_path: Path) -> None:
    messages = unseen()
    model, events = tuned(4, tmp_path)
    assert 0.87 <= exact(model, messages) <= 0.94
    for name in FILES[1:]:
        assert 0.85 <= exact(model, [(message(row), label(row)) for row in rows(name)]) <= 0.96
    hurried, _ = tuned(1, tmp_path)
    assert exact(hurried, messages) < 0.8
    by_epoch = {event.epoch: event.metrics for event in events if isinstance(event, Evaluation)}
    losses = [by_epoch[epoch]["/eval_total_loss"] for epoch in (1, 2, 3, 4)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > 2 * losses[-1]
    assert (
        by_epoch[4]["/eval_fraction_of_correct_next_step_preds"]
        > by_epoch[1]["/eval_fraction_of_correct_next_step_preds"]
    )
