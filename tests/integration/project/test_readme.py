"""What the README says can be run, runs; what it names, exists; and it stays short."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from airflow.sdk import DAG
from vertex_tuning.config.loader import load_tuning

LINES = 130
WORDS = 40


@pytest.fixture(scope="module")
def readme(project_dir: Path) -> str:
    return (project_dir / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_it_is_short(readme: str) -> None:
    assert len(readme.splitlines()) <= LINES
    prose = re.sub(r"```.*?```", "", readme, flags=re.DOTALL)
    paragraphs = [text for text in re.split(r"\n\n|\n(?=\d\. )", prose) if not text.startswith(("|", "#"))]
    assert [text for text in paragraphs if len(text.split()) > WORDS] == []


def test_every_make_command_is_one(readme: str, project_dir: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=project_dir, capture_output=True, text=True, check=True)
    known = set(re.findall(r"make ([\w-]+)", done.stdout))
    named = set(re.findall(r"(?:`|\$ )make ([\w-]+)", readme))
    assert {"demo", "test", "up", "down", "setup", "check", "docs", "help"} <= named <= known


def test_the_python_example_makes_a_dag(readme: str) -> None:
    [example] = blocks(readme, "python")
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - the README is ours
    [dag] = [value for value in names.values() if isinstance(value, DAG)]
    assert {"upload_dataset", "promote_model"} <= set(dag.task_ids)


def test_the_yaml_example_is_a_tuning(readme: str, tmp_path: Path) -> None:
    [example] = blocks(readme, "yaml")
    path = tmp_path / "example.yaml"
    path.write_text(example)
    assert load_tuning(path).budget.max_cost == 20


def test_every_file_it_links_to_is_there(readme: str, project_dir: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", readme)
    assert links
    assert [link for link in links if not (project_dir / link).exists()] == []


def test_every_page_is_linked(readme: str, project_dir: Path) -> None:
    pages = {path.name for path in (project_dir / "docs").glob("*.md")} - {"index.md"}
    assert pages - set(re.findall(r"\(docs/([\w-]+\.md)\)", readme)) == set()
