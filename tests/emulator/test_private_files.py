"""What the emulator keeps is for its owner's eyes alone: people put their own data there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.jobs import VALIDATION, create, upload_datasets, wait
from tests.emulator.process import emulator_process
from tests.emulator.vertex import Vertex
from tests.support.processes import open_to_others


@pytest.fixture(autouse=True)
def _new_files_are_open_to_all() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def train(folder: Path) -> None:
    """Leave datasets, objects, weights and a database in a folder."""
    with emulator_process("--data-dir", str(folder)) as (_, url), Vertex(url) as vertex:
        upload_datasets(vertex)
        job = create(vertex, validationDatasetUri=VALIDATION, hyperParameters={"epochCount": 1})
        wait(vertex, job["name"])
        found = open_to_others(folder)  # while the database's journal is there
    assert {path.name for path in folder.iterdir()} >= {"state.db", "objects", "tuning"}
    assert found == {} == open_to_others(folder)


def test_a_new_folder(tmp_path: Path) -> None:
    train(tmp_path / "of" / "its-own")


def test_a_folder_that_was_open_to_all(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    train(folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777)
    train(folder)


def test_a_folder_that_holds_other_things_stays_open_but_what_is_kept_does_not(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    (shared / "of-others").touch()
    for _ in range(2):
        with emulator_process("--data-dir", str(shared)) as (_, url), Vertex(url) as vertex:
            upload_datasets(vertex)
        assert open_to_others(shared).keys() == {str(shared), str(shared / "of-others")}
        (shared / "objects").chmod(0o777)
