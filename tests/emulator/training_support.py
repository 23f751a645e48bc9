"""Small datasets, training on them, and what it reported."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.prompts import Prompt
from include.gcp_emulator.model.sampling import Answer, Sampling, write
from include.gcp_emulator.model.trainer import Checkpoint, Evaluation, Event, Step, TrainRequest
from include.gcp_emulator.model.training import train

E = TypeVar("E", Step, Evaluation, Checkpoint)


COLOURS = {"sky": "blue", "grass": "light green", "blood": "dark red", "snow": "white", "coal": "black"}


def row(question: str, answer: str) -> dict[str, Any]:
    turns = [("user", question), ("model", answer)]
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}


def colour_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    things = list(COLOURS)
    made = []
    for number in range(start, start + count):
        thing = things[number % len(things)]
        made.append(row(f"Number {number}: what colour has the {thing}?", COLOURS[thing]))
    return made


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


def events_of(request: TrainRequest) -> list[Event]:
    return [event for event in train(request) if event is not None]


def of_kind(kind: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def check_same(events: list[Event], others: list[Event]) -> None:
    """Two runs report the same, up to rounding: with another number of threads sums are added up in another order."""
    outlines = [
        [(type(e), e.job, getattr(e, "step", 0), getattr(e, "epoch", 0)) for e in run] for run in (events, others)
    ]
    assert outlines[0] == outlines[1]
    figures = [[v for e in run for v in getattr(e, "metrics", {}).values()] for run in (events, others)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-2)


def last_loss(events: Iterable[Event], name: str = "/eval_total_loss") -> float:
    return of_kind(Evaluation, events)[-1].metrics[name]


def greedy(model: Model, prompt: Prompt) -> str:
    return "".join(write(model, prompt, Sampling(temperature=0), np.random.default_rng(0), Answer()))
