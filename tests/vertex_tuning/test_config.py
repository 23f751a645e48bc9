from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from vertex_tuning.config import Tuning, load_tuning, load_tunings
from vertex_tuning.exceptions import ConfigurationError, RetiredModelWarning
from vertex_tuning.form import form

GOOD: dict[str, Any] = {
    "schedule": {"cron": "0 6 * * 1", "timezone": "Europe/Berlin"},
    "bucket": "a-bucket",
    "base_model": "gemini-3.5-flash",
    "training_data": "train.jsonl",
    "dataset": {"validation_fraction": 0.1},
    "hyper_parameters": {"epoch_count": 3},
    "display_name": "a model",
    "smoke_test": {"cases": [{"prompt": "?"}]},
}


def write(folder: Path, name: str = "a_tuning.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_a_tuning_is_named_by_its_file(tmp_path: Path) -> None:
    assert load_tuning(write(tmp_path)).name == "a_tuning"


@pytest.mark.parametrize(
    ("changes", "field", "found", "allowed"),
    [
        ({"hyper_parameters": {"epoch_count": 0}}, "hyper_parameters.epoch_count", "0", "greater than or equal to 1"),
        ({"hyper_parameters": {"epoch_count": "3"}}, "hyper_parameters.epoch_count", "'3'", "valid integer"),
        ({"hyper_parameters": {"epoch_count": 3, "adapter_size": 3}}, "hyper_parameters.adapter_size", "3", "1, 2, 4"),
        ({"schedule": {"cron": "every day"}}, "schedule.cron", "'every day'", "five cron fields"),
        ({"schedule": {"cron": "0 6 * * 1", "timezone": "Bern"}}, "schedule.timezone", "'Bern'", "IANA"),
        ({"bucket": None}, "bucket", "None", "valid string"),
        ({"colour": "blue"}, "colour", "'blue'", "not permitted"),
        ({"smoke_test": {}}, "smoke_test.cases", "nothing", "required"),
        ({"smoke_test": {"cases": [{"promt": "?"}]}}, "smoke_test.cases", "[{'promt': '?'}]", "`promt`"),
        ({"smoke_test": {"cases": [{"prompt": "{{ x }}"}]}}, "smoke_test.cases", "[{'prompt'", "a template"),
        ({"dataset": {"format": "jsonl"}}, "dataset.format", "'jsonl'", "'gemini'"),
        ({"dataset": {"validation_fraction": 0.6}}, "dataset.validation_fraction", "0.6", "0.5"),
    ],
)
def test_a_mistake_names_file_field_value_and_what_is_allowed(
    tmp_path: Path, changes: dict[str, Any], field: str, found: str, allowed: str
) -> None:
    with pytest.raises(ConfigurationError) as error:
        load_tuning(write(tmp_path, **changes))
    message = str(error.value)
    assert "a_tuning.yaml" in message
    assert f"{field}: found {found}" in message
    assert allowed in message


@pytest.mark.parametrize("content", ["[", "- a", "", "\x00"])
def test_what_is_no_tuning_at_all_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=r"odd\.yaml"):
        load_tuning(path)


def test_a_wrong_file_leaves_the_right_ones_alone(tmp_path: Path) -> None:
    write(tmp_path, "right.yaml")
    write(tmp_path, "wrong.yaml", base_model="")
    tunings, mistakes = load_tunings(tmp_path)
    assert [tuning.name for tuning in tunings] == ["right"]
    assert len(mistakes) == 1
    assert "wrong.yaml" in mistakes[0]


def test_the_form_offers_the_files_values_with_titles_and_limits(tmp_path: Path) -> None:
    params = form(load_tuning(write(tmp_path)))
    assert {name: param.value for name, param in params.items()} == {
        "base_model": "gemini-3.5-flash",
        "training_data": "train.jsonl",
        "validation_data": None,
        "epoch_count": 3,
        "learning_rate_multiplier": 1.0,
        "adapter_size": 4,
        "max_cost": None,
        "force": False,
        "display_name": "a model",
        "ask_smoke_cases": True,
    }
    assert all(param.schema["title"] and param.description for param in params.values())
    assert params["epoch_count"].schema["minimum"] == 1
    assert params["adapter_size"].schema["enum"] == [1, 2, 4, 8, 16, 32]


def test_the_projects_own_tunings_are_right(project_dir: Path) -> None:
    tunings, mistakes = load_tunings(project_dir / "include" / "tunings")
    assert mistakes == []
    assert "support_triage" in [tuning.name for tuning in tunings]
    assert all(isinstance(tuning, Tuning) for tuning in tunings)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gemini-1.0-pro-002", "has been retired"),
        ("gemini-2.0-flash-001", "2026-06-01"),
        ("gemini-2.5-flash-lite", "2026-10-20"),
        ("gemini-3.5-flash", ""),
        ("projects/p/locations/us-central1/models/1@1", ""),
    ],
)
def test_a_retired_model_is_warned_of_in_the_configuration_and_the_form(tmp_path: Path, model: str, said: str) -> None:
    path = write(tmp_path, base_model=model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        described = form(load_tuning(path))["base_model"].description or ""
    own = [str(one.message) for one in caught if one.category is RetiredModelWarning]
    assert [said in message and "a_tuning.yaml" in message for message in own] == ([True] if said else [])
    assert (f"{model}" in described) is bool(said)


def test_a_rule_about_a_sample_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sample\.exact_share, expected validation_data"):
        load_tuning(write(tmp_path, dataset={}))
    rule = {"rule": {"value": "eval_total_loss.last", "higher_is_better": False}}
    assert load_tuning(write(tmp_path, dataset={}, promotion=rule)).promotion.rule == rule["rule"]
