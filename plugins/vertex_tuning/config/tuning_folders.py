"""Folders with the YAML files of tunings."""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import conf


def tuning_folders(project: Path) -> list[Path]:
    """The project's `include/tunings`, and the folders in `[vertex_tuning] tunings_dirs`, separated by colons.

    :param project: folder of the Airflow project
    """
    further = conf.get("vertex_tuning", "tunings_dirs", fallback="").split(":")
    return [project / "include" / "tunings", *(Path(folder) for folder in further if folder)]
