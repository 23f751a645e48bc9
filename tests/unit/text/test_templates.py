"""What a template renders, read again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.templates import is_known_now, parse_rendered, rendered


@pytest.mark.parametrize("value", [None, "", " ", "None", " None\n"])
def test_a_template_that_found_nothing_gives_nothing(value: Any) -> None:
    assert rendered(value) is None
    assert parse_rendered("x", value, int, "a number") is None


@pytest.mark.parametrize(
    ("value", "kind", "parsed"),
    [
        ("3", int, 3),
        (3, int, 3),
        ("0.5", float, 0.5),
        ('{"loss": 0.5}', dict[str, float], {"loss": 0.5}),
        ({"loss": 0.5}, dict[str, float], {"loss": 0.5}),
        ('[{"value": "overfitting", "max": 0}]', list[Any], [{"value": "overfitting", "max": 0}]),
        (" [1, 2]\n", list[int], [1, 2]),
        ("plain", str, "plain"),
    ],
)
def test_a_value_is_read_as_it_is_or_from_its_text(value: Any, kind: Any, parsed: Any) -> None:
    assert parse_rendered("x", value, kind, "a value") == parsed


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("three", int),
        ("{", dict[str, float]),
        ("[1, 2", list[int]),
        ("{'a': 1}", dict[str, float]),
        ({"a": "b"}, dict[str, float]),
    ],
)
def test_a_value_of_another_kind_is_named(value: Any, kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^epochs: found .*, expected a count\.$"):
        parse_rendered("epochs", value, kind, "a count")


def test_only_templates_and_results_of_tasks_are_left_for_the_run() -> None:
    with DAG("d", schedule=None):
        result = EmptyOperator(task_id="export").output
    assert not is_known_now("{{ params.x }}")
    assert not is_known_now([{"max": result}])
    assert is_known_now([{"max": 1}, ("a", None), object()])
