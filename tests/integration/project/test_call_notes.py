"""The sample dataset for summaries: what its program makes, what the service takes, learnable by the local model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.evaluation.text_scores import token_f1

from include.data.call_notes import generate
from include.gcp_emulator.evaluation.computed import rouge
from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.prompts import Prompt, Turn
from include.gcp_emulator.model.sampling import Answer, Sampling, write
from include.gcp_emulator.model.training import TrainRequest, train
from include.gcp_emulator.prediction.base_engine import base_engine

FOLDER = Path(generate.__file__).parent


def rows(name: str) -> list[tuple[str, str]]:
    """Notes and their summaries."""
    read: list[dict[str, Any]] = [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]
    notes, summaries = ([str(row["contents"][turn]["parts"][0]["text"]) for row in read] for turn in (0, 1))
    return list(zip(notes, summaries, strict=True))


@pytest.mark.parametrize("name", generate.SIZES)
def test_the_file_is_what_the_program_writes(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == generate.files()[name]
    assert len(rows(name)) == generate.SIZES[name]


def test_the_program_runs_as_the_readme_says(project_dir: Path) -> None:
    before = {name: (FOLDER / name).read_bytes() for name in generate.SIZES}
    command = [sys.executable, "-m", "include.data.call_notes.generate"]
    subprocess.run(command, cwd=project_dir, check=True, timeout=60)
    assert {name: (FOLDER / name).read_bytes() for name in generate.SIZES} == before


def test_every_template_is_filled_in_and_every_summary_is_shorter() -> None:
    for name in generate.SIZES:
        for notes, summary in rows(name):
            assert not {"|", "{", "}", "("} & set(notes), notes
            assert len(summary) < len(notes)


def test_no_notes_are_there_twice_and_none_are_in_two_files() -> None:
    texts = [notes.casefold() for name in generate.SIZES for notes, _ in rows(name)]
    assert len(set(texts)) == len(texts)


def test_validation_is_small_enough_for_the_service() -> None:
    training, validation = ((FOLDER / name).stat().st_size for name in ("training.jsonl", "validation.jsonl"))
    assert validation <= 0.25 * training


def test_a_tuning_for_it_is_valid(project_dir: Path) -> None:
    tuning = load_tuning(project_dir / "tests" / "data" / "tunings" / "call_notes.yaml")
    assert tuning.task == "summarization"
    assert tuning.smoke_test.system_instruction == generate.INSTRUCTION


def scores(model: Model) -> tuple[float, float]:
    """Mean ROUGE-L and token F1 on the rows that training has not seen."""
    pairs = [(summarized(model, notes), summary) for notes, summary in rows("test.jsonl")]
    return fmean(rouge({}, *pair) for pair in pairs), fmean(token_f1(*pair) for pair in pairs)


def summarized(model: Model, notes: str) -> str:
    prompt = Prompt(generate.INSTRUCTION, (Turn("user", notes),))
    return "".join(write(model, prompt, Sampling(temperature=0), np.random.default_rng(0), Answer()))


def test_a_tuned_model_summarizes_and_the_base_model_does_not(tmp_path: Path) -> None:
    request = TrainRequest(
        job="notes",
        training=FOLDER / "training.jsonl",
        validation=None,
        method="supervised",
        epochs=4,
        learning_rate_multiplier=1.0,
        adapter_rank=4,
        beta=0.1,
        base_weights=None,
        output_dir=tmp_path,
        last_checkpoint_only=True,
        step_seconds=0.0,
        seed=1,
    )
    list(train(request))
    assert min(scores(Model.load(tmp_path / "checkpoint-1.npz"))) > 0.8
    assert max(scores(base_engine("gemini-2.5-flash", "gemini-2.5-flash"))) < 0.15
