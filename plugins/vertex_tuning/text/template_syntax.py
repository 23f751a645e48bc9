"""Check Jinja templates as Airflow parses them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.templates import template_mark

if TYPE_CHECKING:
    from jinja2 import Environment


def check_template(text: str) -> None:
    """Check the syntax of a Jinja template; other text passes.

    :raises ConfigurationError: Airflow cannot render it: a syntax error, or a filter or test that does not exist
    """
    if not template_mark(text):
        return
    # Imported here: few texts are templates.
    from jinja2 import TemplateError

    try:
        _environment().compile(text)
    except (TemplateError, RecursionError, SyntaxError) as error:
        message = str(getattr(error, "message", None) or error).rstrip(".")
        raise ConfigurationError(f"expected a Jinja template; {message}.") from error


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from airflow.sdk import DAG

    return DAG("templates", schedule=None).get_template_env(force_sandboxed=True)
