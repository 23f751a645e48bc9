"""The tunings that the page shows: those of the files that the API server sees."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec
from airflow.sdk import conf

from vertex_tuning.config.loader import load_tunings, project_folder
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.config.variables import render_with_variables
from vertex_tuning.exceptions import ConfigurationError


class TuningFile(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a tuning's file that the page shows. A whole `Tuning` has all its prompts.

    :param location, bucket: rendered; empty if they cannot be rendered here
    :param problem: why they cannot; empty if they can
    :param budget: `max_cost_per_30_days`
    :param retirement: warning if Google retires the base model soon
    """

    name: str
    description: str
    location: str
    bucket: str
    problem: str
    champion_alias: str
    base_model: str
    budget: float | None
    retirement: str

    @property
    def dag_id(self) -> str:
        return f"retrain_{self.name}"

    @property
    def rollback_dag_id(self) -> str:
        return f"rollback_{self.name}"


def read_tuning_files() -> dict[str, TuningFile]:
    """The tunings by the ids of their DAGs. A file with a mistake has no DAG, and is left out."""
    tunings, _ = load_tunings(*_folders())
    files = (_tuning_file(tuning) for tuning in tunings)
    return {file.dag_id: file for file in files}


def tuning_files_stamp() -> str:
    """Changes when a file changes: reading 200 tunings takes seconds, looking at them milliseconds."""
    found = []
    for folder in _folders():
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found += [(entry.path, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in entries]
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()


def _folders() -> list[Path]:
    """The folders of the tunings, as the DAG files see them."""
    return tuning_folders(project_folder(str(Path(conf.get("core", "dags_folder")) / "retrain.py")))


def _tuning_file(tuning: Tuning) -> TuningFile:
    location = bucket = problem = ""
    try:
        location = render_with_variables(tuning.location, f"{tuning.name}: location")
        bucket = render_with_variables(tuning.bucket, f"{tuning.name}: bucket")
    except ConfigurationError as error:
        problem = str(error)
    return TuningFile(
        name=tuning.name,
        description=tuning.description,
        location=location,
        bucket=bucket,
        problem=problem,
        champion_alias=tuning.promotion.champion_alias,
        base_model=tuning.base_model,
        budget=tuning.budget.max_cost_per_30_days,
        retirement=tuning.retirement_note,
    )
