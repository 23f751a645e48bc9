"""Tunings of the user's data: one YAML file each, as in `include/tunings`, but in `.airflow/tunings`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

MAX_NAME: Final = 63
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DATA: Final = ("training_data", "validation_data")
_ENDINGS: Final = re.compile(r"(\.(csv|jsonl))?(\.gz)?$", re.IGNORECASE)
_HEADER: Final = """\
# `make demo` makes this file, and makes it again each time it gets this data. It keeps your schedule.cron.
# For runs every Monday at six, write schedule: {cron: "0 6 * * 1"}. docs/tuning-file.md explains every field.
"""


@dataclass(frozen=True)
class OwnTunings:
    """The tunings of a folder.

    :param folder: their folder; it may not exist yet
    """

    folder: Path

    def path(self, name: str) -> Path:
        """The file of a tuning."""
        return self.folder / f"{name}.yaml"

    def training_data(self, name: str) -> str:
        """The training data of a tuning; empty if there is no such tuning."""
        return str(_read(self.path(name)).get("training_data", ""))

    def cron(self, name: str) -> str:
        """The schedule of a tuning; empty if it has none, or if there is no such tuning."""
        schedule = _read(self.path(name)).get("schedule")
        return str(schedule.get("cron") or "") if isinstance(schedule, dict) else ""

    def data_folders(self) -> list[Path]:
        """The folders of their data."""
        return sorted(set(self._data_folders()))

    def _data_folders(self) -> Iterator[Path]:
        for path in self.folder.glob("*.yaml"):
            fields = _read(path)
            yield from (Path(str(fields[field])).parent for field in _DATA if fields.get(field))

    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        """Create or replace a tuning."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(fields), sort_keys=False, allow_unicode=True, width=110)
        temporary = self.path(name).with_suffix(".part")
        temporary.write_text(_HEADER + text, encoding="utf-8")
        temporary.replace(self.path(name))


def _read(path: Path) -> dict[str, Any]:
    """The fields of a tuning; empty if it cannot be read. Airflow shows why."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def name_of(path: Path) -> str:
    """A tuning's name, made from the name of the data file; empty if it has no usable letter."""
    words = re.sub(r"[^a-z0-9]+", "_", _ENDINGS.sub("", path.name).lower()).strip("_")
    return (f"data_{words}" if words[:1].isdigit() else words)[:MAX_NAME]


def tuning_fields(
    *,
    training: Path,
    validation: Path | None,
    columns: Mapping[str, str],
    task: str | None,
    rows: int,
    validation_fraction: float | None,
    labelled: bool,
    cases: Sequence[Mapping[str, Any]],
    name: str,
    cron: str,
) -> dict[str, Any]:
    """The content of a tuning's file.

    :param rows: number of training examples
    :param validation_fraction: share of the training data that is held out
    :param labelled: whether the answers are labels, so that exact answers can be counted
    :param cases: cases of the smoke test. They are judged for information and never refuse the model
    :param cron: when it runs by itself; empty for a tuning that is only started by hand
    """
    held_out = {"validation_fraction": validation_fraction} if validation_fraction else {}
    dataset = {**({"columns": dict(columns)} if columns else {}), **held_out}
    return {
        "description": f"Trains on {training.name}.",
        "schedule": {"cron": cron} if cron else {},
        "location": "{{ var.value.vertex_tuning_location }}",
        "bucket": "{{ var.value.vertex_tuning_bucket }}",
        "base_model": "gemini-3.1-flash-lite",
        "training_data": str(training),
        **({"validation_data": str(validation)} if validation else {}),
        **({"dataset": dataset} if dataset else {}),
        **({"task": task} if task else {}),
        "hyper_parameters": {"epoch_count": epochs(rows)},
        "display_name": name,
        "smoke_test": {"min_pass_share": 0.0, "cases": [dict(case) for case in cases]},
        "promotion": {"rule": _rule(labelled), "on_refused": "skip"},
    }


def epochs(rows: int) -> int:
    """Epochs that show the small local model about 3,000 examples. Gemini needs fewer."""
    return min(20, max(3, 3_000 // rows))


def _rule(labelled: bool) -> dict[str, Any]:
    """Models of sentences are compared by their loss: they hardly ever repeat a sentence word for word."""
    if labelled:
        return {"value": "sample.exact_share"}
    return {"value": "eval_total_loss.last", "higher_is_better": False}
