"""Render the pages. Every text is escaped; a page has no script, no inline style and nothing from another host."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vertex_tuning.costs.budget import format_money
from vertex_tuning.report.charts import picture
from vertex_tuning.report.names import number_text, seconds
from vertex_tuning.report.page import SIGNS
from vertex_tuning.text.plain_text import moment

TEMPLATES: Final = Path(__file__).parent / "templates"
ROOT: Final = "../"
"""Relative URL of Airflow's UI from each page: all pages are one folder below it, wherever Airflow is served."""


def render(name: str, **content: Any) -> str:
    """Render a page.

    :param name: name of its template
    :param content: what the template shows
    """
    return _environment().get_template(f"{name}.html.j2").render(root=ROOT, **content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number_text, seconds=seconds, moment=moment, day=lambda text: moment(text)[:10], short=_short
    )
    environment.globals.update(
        money=format_money, picture=picture, sign=lambda state: SIGNS.get(state, "\N{WHITE CIRCLE}")
    )
    return environment


def _short(time: str) -> str:
    """A time without seconds, in UTC."""
    text = moment(time)
    return f"{text[:16]} UTC" if text.endswith(" UTC") else text
