"""Switches as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowException
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.params import form
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.exceptions import ConfigurationError


def in_form(project_dir: Any, value: Any) -> Any:
    """What a run's `conf` makes of the form's switch `force`."""
    params = ParamsDict(dict(form(load_tuning(project_dir / "include/tunings/support_triage.yaml"))))
    params.update({"force": value})
    return params.validate()["force"]


@pytest.mark.parametrize("value", [True, 1, "true", "True", "YES", " on ", "1"])
def test_on(project_dir: Any, value: Any) -> None:
    assert parse_switch("force", in_form(project_dir, value)) is True


@pytest.mark.parametrize("value", [False, 0, "false", "no", "Off", "0"])
def test_off(project_dir: Any, value: Any) -> None:
    assert parse_switch("force", in_form(project_dir, value)) is False


@pytest.mark.parametrize("value", ["", " ", "perhaps", "truely", "yes please", 2, -1, 0.5, None, [], "None"])
def test_anything_else_is_refused_by_the_form_and_by_the_package(project_dir: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"force: found .*, expected true or false"):
        parse_switch("force", value)
    with pytest.raises((AirflowException, ValueError), match="force"):
        in_form(project_dir, value)
