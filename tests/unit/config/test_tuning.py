"""What a file may say and Python may not, and the other way round."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from vertex_tuning.config.hyper_parameters import HyperParameters
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.params import from_form
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.exceptions import ConfigurationError

FILE = """
schedule: {cron: "0 6 * * 1"}
bucket: bucket
base_model: gemini-3.1-flash-lite
training_data: t.jsonl
display_name: d
promotion: {rule: {value: smoke.pass_share}}
smoke_test: {cases: [{prompt: "?"}]}
"""


def read(folder: Path, text: str) -> Tuning:
    (folder / "cards.yaml").write_text(text)
    return load_tuning(folder / "cards.yaml")


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ('hyper_parameters: {epoch_count: "{{ x }}"}', "epoch_count: found '{{ x }}', expected a whole number."),
        ('budget: {max_cost: "{{ x }}"}', "budget.max_cost: found '{{ x }}', expected a number."),
        ('gates: "{{ x }}"', "gates: found '{{ x }}', expected a list."),
        ('labels: {team: "{{ x }}"}', "labels: found"),
        ('dataset: {split_seed: "{{ x }}"}', "dataset.split_seed: found '{{ x }}', expected a whole number."),
        ('skip_if_unchanged: "{{ x }}"', "skip_if_unchanged: found '{{ x }}', expected true or false."),
    ],
)
def test_a_file_has_plain_values_where_the_form_needs_them(tmp_path: Path, line: str, mistake: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, f"{FILE}{line}\n")
    assert mistake in str(error.value)


@pytest.mark.parametrize("field", ["schedule", "display_name"])
def test_a_file_names_what_python_may_leave_out(tmp_path: Path, field: str) -> None:
    lines = [line for line in FILE.splitlines() if not line.startswith(field)]
    with pytest.raises(ConfigurationError, match=f"{field}: found nothing, expected a value: the field is required"):
        read(tmp_path, "\n".join(lines))


def test_results_of_tasks_and_templates_are_kept_as_they_are() -> None:
    with DAG("d", schedule=None):
        found = EmptyOperator(task_id="export").output
    made = HyperParameters(epoch_count=found, adapter_size="{{ params.size }}")
    assert dict(made) == {
        "epoch_count": found, "adapter_size": "{{ params.size }}", "learning_rate_multiplier": 1.0
    }  # fmt: skip


def test_the_form_decides_what_it_has_and_the_file_the_rest(tmp_path: Path) -> None:
    tuning = read(tmp_path, f"{FILE}budget: {{max_cost: 5, max_training_tokens: 9, max_cost_per_30_days: 50}}\n")
    run = from_form(tuning)
    assert dict(run.budget) == {
        "max_cost": "{{ params.max_cost or '' }}",
        "max_training_tokens": 9,
        "max_cost_per_30_days": 50,
        "on_budget": "fail",
    }
    assert (run.bucket, run.smoke_test) == (tuning.bucket, tuning.smoke_test)
