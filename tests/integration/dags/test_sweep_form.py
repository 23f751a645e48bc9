"""The form of a tuning that compares settings: its lists are fields of the form, and decide about the candidates."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.operators.sweep import PlanCandidatesOperator

SETTINGS = {"epoch_count": [2, 3], "learning_rate_multiplier": 0.5, "adapter_size": [4, 8]}


@pytest.fixture(scope="module")
def dag(project_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> DAG:
    folder = tmp_path_factory.mktemp("swept")
    for name in ("dags", "include/tunings"):
        shutil.copytree(project_dir / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "include/tunings/support_triage.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "hyper_parameters": SETTINGS}))
    made: DAG = DagBag(dag_folder=str(folder / "dags/retrain.py")).dags["retrain_support_triage"]
    return made


def candidates(dag: DAG, **form: Any) -> list[tuple[Any, ...]]:
    """Candidates of a run.

    :param form: what was changed in the form
    """
    task = dag.task_dict["plan_candidates"]
    assert isinstance(task, PlanCandidatesOperator)
    made = PlanCandidatesOperator(task_id="plan_candidates", sweep=task.sweep)
    context: Any = {"params": {**dag.params.dump(), **form}}
    for name in task.template_fields:
        setattr(made, name, task.render_template(getattr(task, name), context, task.get_template_env()))
    return [tuple(candidate.values()) for candidate in made.execute(context)]


def test_the_form_shows_lists_as_lists_and_values_as_values(dag: DAG) -> None:
    schemas = {name: dag.params.get_param(name).schema for name in SETTINGS}
    assert {name: schema["type"] for name, schema in schemas.items()} == {
        "epoch_count": "array",
        "learning_rate_multiplier": "number",
        "adapter_size": "array",
    }
    assert schemas["epoch_count"]["items"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert dag.params["adapter_size"] == [4, 8]


def test_the_candidates_are_those_of_the_file(dag: DAG) -> None:
    assert candidates(dag) == [(2, 0.5, 4), (2, 0.5, 8), (3, 0.5, 4), (3, 0.5, 8)]


def test_a_run_can_have_other_lists_and_other_values(dag: DAG) -> None:
    changed = {"epoch_count": [1, 5, 9], "learning_rate_multiplier": 2.0, "adapter_size": [16]}
    assert candidates(dag, **changed) == [(1, 2.0, 16), (5, 2.0, 16), (9, 2.0, 16)]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"epoch_count": [1, 2, 3, 4, 5]}, "hyper_parameters: found 10 candidates"),
        ({"epoch_count": [2, 2]}, "expected each value once"),
        ({"epoch_count": []}, "epoch_count: found"),
        ({"adapter_size": ["{{ conn.x.password }}"]}, "adapter_size: found"),
    ],
)
def test_a_wrong_list_ends_the_run_before_anything_is_uploaded(dag: DAG, form: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message.replace("[", r"\[")):
        candidates(dag, **form)


def test_the_plan_is_the_first_task_and_checks_the_keys_of_the_form(dag: DAG) -> None:
    assert [task.task_id for task in dag.roots] == ["plan_candidates"]
    checked = [task_id for task_id, task in dag.task_dict.items() if getattr(task, "_pre_execute_hook", None)]
    assert checked == ["plan_candidates"]
