"""Which Airflow installation this is."""

from __future__ import annotations

import pytest
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ConfigurationError

OPTION, KEY = "AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "AIRFLOW__CORE__FERNET_KEY"


def test_the_option_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTION, "production")
    assert deployment_id() == "production"


@pytest.mark.parametrize("wrong", ["Production", "a b", "ä", "-x", "x" * 41])
def test_it_must_be_a_labels_value(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(OPTION, wrong)
    with pytest.raises(ConfigurationError, match="deployment: found"):
        deployment_id()


def test_without_it_the_key_that_all_components_share_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTION, "")
    monkeypatch.setenv(KEY, "key-of-production")
    production = deployment_id()
    monkeypatch.setenv(KEY, "key-of-staging")
    assert deployment_id() != production
    monkeypatch.setenv(KEY, "a-newer-key, key-of-production")  # while the key is rotated
    assert deployment_id() == production
    assert "key-of" not in production
    assert len(production) == 12


@pytest.mark.parametrize("key", ["", None])
def test_with_neither_nothing_is_created(monkeypatch: pytest.MonkeyPatch, key: str | None) -> None:
    """Not set: the key then stands in an airflow.cfg that Airflow wrote, and each host has another."""
    monkeypatch.setenv(OPTION, "")
    if key is not None:
        monkeypatch.setenv(KEY, key)
    with pytest.raises(ConfigurationError, match="AIRFLOW__VERTEX_TUNING__DEPLOYMENT"):
        deployment_id()
