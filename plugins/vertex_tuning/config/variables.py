"""Render the templates of a tuning file outside of a task, with Airflow's variables."""

from __future__ import annotations

import os

from vertex_tuning.exceptions import ConfigurationError


def render_with_variables(template: str, field: str) -> str:
    """Render a field of a tuning, such as `{{ var.value.vertex_tuning_bucket }}`.

    :param template: the field's text
    :param field: the tuning and the field, for the error message
    :raises ConfigurationError: the template cannot be rendered outside of a run
    """
    from airflow.sdk.execution_time.context import VariableAccessor
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    read_from_database()
    variables = {"value": VariableAccessor(deserialize_json=False)}
    try:
        return SandboxedEnvironment(undefined=StrictUndefined).from_string(template).render(var=variables)
    except Exception as error:
        raise ConfigurationError(f"{field}: {template} cannot be rendered here: {error}") from error


def read_from_database() -> None:
    """Let Airflow's SDK read connections and variables from the metadata database, outside of a task as well."""
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
