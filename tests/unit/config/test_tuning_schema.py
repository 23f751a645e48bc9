"""The JSON Schema says what the loader says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.tuning_schema import SCHEMA_FILE, SCHEMA_LINE, schema_text, tuning_schema
from vertex_tuning.exceptions import ConfigurationError

VALIDATOR = jsonschema.Draft202012Validator(tuning_schema())


def test_the_schema_next_to_the_shipped_tunings_is_the_one_of_the_code(project_dir: Path) -> None:
    shipped = project_dir / "include" / "tunings" / SCHEMA_FILE
    renew = f"PYTHONPATH=plugins .venv/bin/python -m vertex_tuning schema > {shipped.relative_to(project_dir)}"
    assert unordered(json.loads(shipped.read_text())) == unordered(tuning_schema()), f"Renew it: {renew}"
    assert json.loads(schema_text()) == tuning_schema()


def unordered(part: Any) -> Any:
    """A schema with its alternatives in one order, which differs between versions of the libraries."""
    if isinstance(part, dict):
        return {key: unordered(value) for key, value in part.items()}
    return sorted(map(unordered, part), key=repr) if isinstance(part, list) else part


def test_each_shipped_tuning_names_the_schema_and_keeps_it(project_dir: Path) -> None:
    for path in (project_dir / "include" / "tunings").glob("*.yaml"):
        text = path.read_text()
        assert text.startswith(f"{SCHEMA_LINE}\n")
        VALIDATOR.validate(yaml.safe_load(text))


def test_it_is_a_schema_with_a_description_of_most_fields() -> None:
    jsonschema.Draft202012Validator.check_schema(tuning_schema())
    fields = tuning_schema()["properties"]
    described = [name for name, field in fields.items() if "description" in field or "$ref" in field]
    assert len(described) > len(fields) / 2
    assert "name" not in fields


Change = Callable[[dict[str, Any]], Any]
WRONG: dict[str, Change] = {
    "no schedule": lambda tuning: tuning.pop("schedule"),
    "no display name": lambda tuning: tuning.pop("display_name"),
    "a misspelt field of the schedule": lambda tuning: tuning["schedule"].update(crom="0 6 * * 1"),
    "a subscription alone": lambda tuning: tuning["schedule"].update(watch="projects/p/subscriptions/sub"),
    "no bucket": lambda tuning: tuning.pop("bucket"),
    "a name": lambda tuning: tuning.update(name="other"),
    "misspelt field": lambda tuning: tuning.update(budgett={}),
    "misspelt field inside": lambda tuning: tuning["hyper_parameters"].update(epochs=3),
    "no epochs": lambda tuning: tuning["hyper_parameters"].update(epoch_count=0),
    "half an epoch": lambda tuning: tuning["hyper_parameters"].update(epoch_count=0.5),
    "a text for a number": lambda tuning: tuning["budget"].update(max_cost="20"),
    "no cases": lambda tuning: tuning["smoke_test"].update(cases=[]),
    "a case with a misspelt field": lambda tuning: tuning["smoke_test"]["cases"][0].update(equal="billing"),
    "a gate with a misspelt limit": lambda tuning: tuning["gates"][0].update(minimum=1),
    "a rule without a value": lambda tuning: tuning["promotion"].update(rule={}),
    "another word for skip": lambda tuning: tuning["promotion"].update(on_refused="ignore"),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_it_refuses_the_loader_refuses_too(project_dir: Path, tmp_path: Path, change: Change) -> None:
    tuning = yaml.safe_load((project_dir / "include" / "tunings" / "support_triage.yaml").read_text())
    change(tuning)
    assert not VALIDATOR.is_valid(tuning)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(tuning))
    with pytest.raises(ConfigurationError):
        load_tuning(path)


@pytest.mark.parametrize("schedule", [None, {}, {"watch": {"subscription": "projects/p/subscriptions/sub"}}])
def test_it_allows_a_schedule_without_times(project_dir: Path, schedule: Any) -> None:
    tuning = yaml.safe_load((project_dir / "include" / "tunings" / "support_triage.yaml").read_text())
    VALIDATOR.validate(tuning | {"schedule": schedule})
