"""What the README says can be run, runs; what it names, exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from airflow.sdk import DAG
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.params import form
from vertex_tuning.config.tuning import Promotion, SmokeTest, Tuning
from vertex_tuning.datasets.options import DatasetOptions
from vertex_tuning.datasets.validator import examine
from vertex_tuning.pipeline import tuning_pipeline


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


def test_the_names_and_titles_of_a_runs_conf_are_those_it_lists(readme: str, project_dir: Path) -> None:
    table = readme.partition("| name in `conf` | title in the form | value |\n|---|---|---|\n")[2].partition("\n\n")[0]
    listed = {cells[1].strip(" `"): cells[2].strip() for row in table.splitlines() if (cells := row.split("|"))}
    params = form(load_tuning(project_dir / "include" / "tunings" / "support_triage.yaml"))
    assert listed == {name: param.schema["title"] for name, param in params.items()}


def test_each_task_of_a_run_is_explained(readme: str) -> None:
    table = readme.partition("| task | what it does |\n|---|---|\n")[2].partition("\n\n")[0]
    listed = {task for row in table.splitlines() for task in re.findall(r"`(\w+)`", row.split("|")[1])}
    with DAG("listed", schedule=None) as dag:
        tuning_pipeline(
            Tuning(
                name="t",
                base_model="gemini-3.1-flash-lite",
                training_data="gs://bucket/t.jsonl",
                dataset=DatasetOptions(validation_fraction=0.1),
                bucket="bucket",
                smoke_test=SmokeTest(cases=[{"prompt": "a"}]),
                promotion=Promotion(require_approval=True),
            )
        )
    assert listed == set(dag.task_ids)


def test_the_table_of_contents_has_each_section(readme: str) -> None:
    sections = re.findall(r"(?m)^## (.*)$", re.sub(r"```.*?```", "", readme, flags=re.DOTALL))
    assert re.findall(r"(?m)^- \[(.*)\]\(#.*\)$", readme) == sections


def test_the_layout_is_the_projects(readme: str, project_dir: Path) -> None:
    rows = readme.partition("## Layout")[2]
    folders = re.findall(r"`([\w/]+/)`", rows)
    assert folders
    assert [folder for folder in folders if not (project_dir / folder).is_dir()] == []
