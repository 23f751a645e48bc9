"""The emulator's README says what the emulator does."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from include.gcp_emulator.__main__ import parser
from include.gcp_emulator.app import Emulator
from include.gcp_emulator.methods import table
from tests.emulator.jobs import create, upload_datasets
from tests.emulator.vertex import Vertex
from tests.support.emulator import FAST, running_emulator

README = Path(__file__).resolve().parents[2] / "include" / "gcp_emulator" / "README.md"


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    with running_emulator() as url, Vertex(url) as made:
        upload_datasets(made)
        yield made


def test_the_table_of_methods_is_that_of_the_routes(tmp_path: Path) -> None:
    emulator = Emulator(replace(FAST, data_dir=tmp_path))
    emulator.store.close()
    wanted = table(emulator.routes)
    assert wanted in README.read_text(), "run python -m include.gcp_emulator.methods and put its table into the README"


def test_every_option_is_described() -> None:
    options = set(re.findall(r"--[a-z-]+", parser().format_help())) - {"--help", "--log-level"}
    described = set(re.findall(r"`(--[a-z-]+)`", README.read_text()))
    assert options <= described


def commands() -> list[list[str]]:
    """The README's curl commands, each as its words."""
    text = "\n".join(re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL))
    return [words for line in re.split(r"\n(?=\S)", text) if (words := shlex.split(line, comments=True))[0] == "curl"]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_examples_work(vertex: Vertex, words: list[str]) -> None:
    vertex.client.post("/_internal/reset").raise_for_status()
    upload_datasets(vertex)
    path = next(word for word in words if word.startswith("$E")).removeprefix("$E")
    if path.endswith(":advance"):
        vertex.client.post("/_internal/lifecycle", json={"manual": True})
        path = f"/tuningJobs/{create(vertex)['name'].rsplit('/', 1)[-1]}:advance"
    body = json.loads(words[words.index("-d") + 1]) if "-d" in words else None
    method = words[words.index("-X") + 1] if "-X" in words else "POST" if body else "GET"
    response = vertex.client.request(method, f"/_internal{path}", json=body)
    assert response.status_code == 200, response.text
