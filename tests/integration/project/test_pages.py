"""The pages of the documentation say what the code does."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vertex_tuning
import yaml
from airflow.providers.google.cloud.operators import gen_ai
from airflow.sdk import DAG
from vertex_tuning import exceptions
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.notify import Notification
from vertex_tuning.config.params import form
from vertex_tuning.config.strict_yaml import read_yaml
from vertex_tuning.config.tuning import Promotion, SmokeTest, Tuning
from vertex_tuning.datasets.options import DatasetOptions
from vertex_tuning.datasets.validator import examine
from vertex_tuning.pipeline import tuning_pipeline
from vertex_tuning.provider import get_provider_info

from tests.integration.project.test_docs import code, tables
from tests.integration.project.test_readme import blocks


def page(project_dir: Path, name: str) -> str:
    return (project_dir / "docs" / f"{name}.md").read_text()


def test_every_page_names_only_make_commands_that_exist(project_dir: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=project_dir, capture_output=True, text=True, check=True)
    known = set(re.findall(r"make ([\w-]+)", done.stdout))
    pages = "".join(path.read_text() for path in (project_dir / "docs").glob("*.md"))
    assert set(re.findall(r"(?:`|\$ )make ([a-z][\w-]*)", pages)) - known == set()


def test_every_command_and_option_on_the_pages_exists(project_dir: Path) -> None:
    pages = "".join(path.read_text() for path in (project_dir / "docs").glob("*.md"))
    done = subprocess.run(
        [sys.executable, "-m", "vertex_tuning", "--help"],
        cwd=project_dir, env={**os.environ, "PYTHONPATH": "plugins"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    commands = set(re.findall(r"(?:`|\$ |(?m:^))vertex-tuning (\w+)", pages))
    assert len(commands) >= 5
    assert [command for command in commands if not re.search(rf"\b{command}\b", done.stdout)] == []
    options = {name.lower() for name in re.findall(r"AIRFLOW__VERTEX_TUNING__(\w+)", pages)}
    assert options - get_provider_info()["config"]["vertex_tuning"]["options"].keys() == set()


def test_every_yaml_example_fits_a_tuning(project_dir: Path, tmp_path: Path) -> None:
    [complete] = blocks((project_dir / "README.md").read_text(), "yaml")
    examples = [text for path in (project_dir / "docs").glob("*.md") for text in blocks(path.read_text(), "yaml")]
    assert len(examples) >= 2
    for example in examples:
        path = tmp_path / "example.yaml"
        path.write_text(yaml.safe_dump(read_yaml(complete).content | read_yaml(example).content))
        load_tuning(path)


@pytest.mark.parametrize("name", ["operators", "sweeps"])
def test_every_python_example_of_the_operators_makes_a_dag(project_dir: Path, name: str) -> None:
    examples = blocks(page(project_dir, name), "python")
    assert examples
    for example in examples:
        names: dict[str, object] = {}
        exec(example, names)  # noqa: S102 - the page is ours
        [dag] = [value for value in names.values() if isinstance(value, DAG)]
        assert len(dag.tasks) >= 5


def test_every_public_name_is_in_the_reference(project_dir: Path) -> None:
    table = (vertex_tuning.__doc__ or "").split("=  =")[2]
    public, module = set(), ""
    for line in table.splitlines():
        module = line[53:].strip() if line[53:].strip().startswith("vertex_tuning.") else module
        public |= {(module, name) for name in re.findall(r"\b[A-Z]\w+[a-z]\w*\b|\b[a-z]+_[a-z_]+\b", line[:53])}
    listed = {(name.rpartition(".")[0], name.rpartition(".")[2]) for name in reference(project_dir)}
    others = {("vertex_tuning.exceptions", "TuningError")}  # on the page about errors
    assert public - listed - others == set()


def reference(project_dir: Path) -> list[str]:
    return re.findall(r"(?m)^::: ([\w.]+)$", page(project_dir, "operators"))


def test_the_example_row_is_one(project_dir: Path) -> None:
    [example] = blocks(page(project_dir, "own-data"), "json")
    assert examine(example.encode()).problems == []


def test_the_names_and_titles_of_a_runs_conf_are_those_it_lists(project_dir: Path) -> None:
    rows = tables(page(project_dir, "runs"))[0]
    params = form(load_tuning(project_dir / "include" / "tunings" / "support_triage.yaml"))
    assert {code(name)[0]: title for name, title, _ in rows} == {
        name: param.schema["title"] for name, param in params.items()
    }


def test_each_task_of_a_run_is_explained(project_dir: Path) -> None:
    rows = tables(page(project_dir, "runs"))[1]
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
                notify=[Notification(on=["failed"], notifier="a.Notifier")],
            )
        )
    assert {task for names, _ in rows for task in code(names)} == set(dag.task_ids)


def test_each_task_that_is_different_in_a_sweep_is_explained(project_dir: Path) -> None:
    [example] = blocks(page(project_dir, "sweeps"), "python")
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the page is ours
    rows = tables(page(project_dir, "sweeps"))[0]
    listed = {task for tasks, _ in rows for task in code(tasks)}
    tasks = set(names["dag"].task_ids)
    assert listed <= tasks
    assert {task for task in tasks if "candidate" in task} <= listed


def test_the_layout_is_the_projects(project_dir: Path) -> None:
    [rows] = tables(page(project_dir, "contributing"))
    folders = {folder for names, *_ in rows for folder in code(names)}
    assert [folder for folder in folders if not (project_dir / folder).is_dir()] == []
    package = project_dir / "plugins" / "vertex_tuning"
    inside = {f"{path.relative_to(project_dir)}/" for path in package.glob("[!_]*") if list(path.glob("[!.]*.*"))}
    assert inside - folders == set()


def test_each_error_is_explained_in_the_table_of_its_kind(project_dir: Path) -> None:
    _, permanent, passing, warned = tables(page(project_dir, "troubleshooting"))
    base = {"TuningError", "PermanentError", "TransientError"}
    classes = {
        name: made
        for name, made in inspect.getmembers(exceptions, inspect.isclass)
        if made.__module__ == exceptions.__name__ and name not in base
    }
    for rows, kind in [
        (permanent, exceptions.PermanentError),
        (passing, exceptions.TransientError),
        (warned, UserWarning),
    ]:
        assert {code(name)[0] for name, *_ in rows} == {name for name in classes if issubclass(classes[name], kind)}
        assert all(meaning and advice for _, meaning, advice in rows)


def test_the_quoted_messages_are_messages_of_the_code(project_dir: Path) -> None:
    rows = tables(page(project_dir, "troubleshooting"))[0]
    quoted = ["is outside the allowed folders of datasets", "is taken by another program", "found the unknown key"]
    sources = "".join(
        path.read_text() for folder in ("plugins", "include") for path in (project_dir / folder).rglob("*.py")
    )
    for message in quoted:
        assert message in str(rows)
        assert message in sources


def test_the_prices_are_those_of_the_price_table(project_dir: Path) -> None:
    text = page(project_dir, "vertex-ai")
    table = yaml.safe_load((project_dir / "plugins/vertex_tuning/data/prices.yaml").read_text())
    rows = tables(text)[-1]
    assert {code(model)[0]: float(price) for model, price in rows} == table["per_million_training_tokens"]
    assert f"as of {table['date']}" in text


def test_the_price_of_the_first_run_is_what_the_check_prints(project_dir: Path) -> None:
    [shown] = [text.strip() for text in blocks(page(project_dir, "vertex-ai"), "text")]
    done = subprocess.run(
        [sys.executable, "-m", "vertex_tuning", "check", "include/data/support_triage/training.jsonl",
         "--base-model", "gemini-3.1-flash-lite", "--epochs", "1"],
        cwd=project_dir, env={**os.environ, "PYTHONPATH": "plugins"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == shown


def test_googles_operator_is_what_the_comparison_says(project_dir: Path) -> None:
    [name] = re.findall(r"`(\w+Operator)`", page(project_dir, "comparison"))
    operator = getattr(gen_ai, name)
    assert "deferrable" not in inspect.signature(operator).parameters
    assert "on_kill" not in vars(operator)
