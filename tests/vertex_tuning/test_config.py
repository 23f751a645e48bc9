from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from vertex_tuning.config import Tuning, load_tuning, load_tunings
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.form import form

GOOD: dict[str, Any] = {
    "schedule": {"cron": "0 6 * * 1", "timezone": "Europe/Berlin"},
    "bucket": "a-bucket",
    "base_model": "gemini-2.5-flash",
    "training_data": "train.jsonl",
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
        "base_model": "gemini-2.5-flash",
        "training_data": "train.jsonl",
        "validation_data": None,
        "epoch_count": 3,
        "learning_rate_multiplier": 1.0,
        "adapter_size": 4,
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
