"""Jinja templates, checked as Airflow will read them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.templates import template_mark

if TYPE_CHECKING:
    from jinja2 import Environment


def check_template(text: str) -> None:
    """
    :raises ConfigurationError: the text is a template that Airflow cannot render: its syntax is wrong, or it names a
        filter or test that Airflow does not have
    """
    if not template_mark(text):
        return
    # Imported here: few texts are templates.
    from jinja2 import TemplateError

    try:
        _environment().compile(text)
    except (TemplateError, RecursionError, SyntaxError) as error:
        message = getattr(error, "message", None) or error
        raise ConfigurationError(f"expected a Jinja template; {message}.") from error


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from airflow.sdk import DAG

    return DAG("templates", schedule=None).get_template_env(force_sandboxed=True)
