"""What the README says can be run, runs; what it names, exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from airflow.sdk import DAG
from vertex_tuning.config.loader import Tuning
from vertex_tuning.datasets.validator import examine


@pytest.fixture(scope="module")
def readme(project_dir: Path) -> str:
    return (project_dir / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_make_command_is_one(readme: str, project_dir: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=project_dir, capture_output=True, text=True, check=True)
    known = set(re.findall(r"make (\w+)", done.stdout))
    named = set(re.findall(r"(?:`|\$ )make (\w+)", readme))
    assert {"demo", "test", "up", "down", "setup", "check", "help"} <= named <= known


def test_every_python_example_makes_a_dag(readme: str) -> None:
    examples = blocks(readme, "python")
    assert len(examples) == 2
    for example in examples:
        names: dict[str, object] = {}
        exec(example, names)  # noqa: S102 - the README is ours
        [dag] = [value for value in names.values() if isinstance(value, DAG)]
        assert len(dag.tasks) >= 5


def test_the_example_row_is_one(readme: str) -> None:
    [example] = blocks(readme, "json")
    assert examine(example.encode()).problems == []


def test_every_file_it_links_to_is_there(readme: str, project_dir: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme) + re.findall(r'src="([^"]+)"', readme)
    assert links
    assert [link for link in links if not (project_dir / link).exists()] == []


def test_the_fields_of_a_tuning_are_those_it_lists(readme: str) -> None:
    table = readme.partition("| field | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    first_column = " ".join(row.split("|")[1] for row in table.splitlines())
    named = {name.partition(".")[0] for name in re.findall(r"`([\w.]+)`", first_column)}
    assert named == set(Tuning.model_fields) - {"name", "description"}


def test_the_layout_is_the_projects(readme: str, project_dir: Path) -> None:
    rows = readme.partition("## Layout")[2]
    folders = re.findall(r"`([\w/]+/)`", rows)
    assert folders
    assert [folder for folder in folders if not (project_dir / folder).is_dir()] == []
