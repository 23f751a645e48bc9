"""Ids in Vertex AI Experiments."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.config.tuning import NAME
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.resources.experiment_ids import experiment_id, experiment_run_id

names = st.from_regex(NAME.removesuffix("$") + r"\Z", fullmatch=True)
LONGEST = 128
"""Most characters of the id of a run's resource, which has both ids."""


@given(names, names, st.text(), st.text())
def test_each_tuning_has_an_id_of_its_own_that_the_service_allows(one: str, other: str, place: str, run: str) -> None:
    experiment, name = experiment_id(one), experiment_run_id(place.encode("utf-8", "replace").decode(), "0" * 16)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{3,127}", experiment)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{3,127}", name)
    assert len(f"{experiment}-{name}") <= LONGEST
    assert (experiment == experiment_id(other)) == (one == other)


def test_a_name_is_recognised() -> None:
    assert experiment_id("support_triage") == "airflow-support-triage"


def test_runs_of_two_installations_differ() -> None:
    ids = {experiment_run_id(place, run) for place in ("a", "b") for run in ("0" * 16, "1" * 16)}
    assert len(ids) == 4


@pytest.mark.parametrize("tuning", ["", "a-b", "A", "1a", "a" * 64, "a\n", "../a", "\u00e9"])
def test_other_names_are_refused(tuning: str) -> None:
    with pytest.raises(ConfigurationError):
        experiment_id(tuning)
