"""The ready-made message about a run: a subject, a text and an HTML page. Pure."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vertex_tuning.config.notify import Event
from vertex_tuning.text.plain_text import TEXT_SHOWN, plain

SUBJECT_LENGTH: Final = 200
"""Most characters of a subject; mail programs show fewer."""

COLOURS: Final = {
    "promoted": "#17703f",
    "refused": "#b3261e",
    "failed": "#b3261e",
    "budget": "#7a5200",
    "undecided": "#7a5200",
    "overdue": "#7a5200",
    "retiring": "#7a5200",
    "approval_waiting": "#1957b3",
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A message about a run. Templates of a notifier's arguments get it as `notification`.

    All texts are plain, on one line each. A text without a value is empty.

    :param title: the event in words: how the run ended, or what is wanted
    :param sentence: effect on the model in use
    :param reasons: reasons, one line each
    :param warnings: e.g. that Google retires the base model soon
    :param gain: gain of the new model over the model in use, with its bounds
    :param score: the value by which the rule decides, of each model
    :param cost: cost of the tuning job
    :param model: resource name of the new model
    :param report_url: the report of the run, for a browser
    :param run_url: the run in Airflow
    :param approval_url: page in Airflow on which a person decides
    """

    event: Event
    tuning: str
    dag_id: str
    run_id: str
    title: str
    sentence: str
    reasons: list[str] = []
    warnings: list[str] = []
    gain: str = ""
    score: str = ""
    cost: str = ""
    model: str = ""
    report_url: str = ""
    run_url: str = ""
    approval_url: str = ""

    @property
    def subject(self) -> str:
        """One line, e.g. `support_triage: Promoted`."""
        return plain(f"{self.tuning}: {self.title}", SUBJECT_LENGTH)

    @property
    def facts(self) -> dict[str, str]:
        """Names and values, without those that are empty."""
        facts = {"Gain": self.gain, "Score": self.score, "Cost": self.cost, "New model": self.model, "Run": self.run_id}
        return {name: plain(value, TEXT_SHOWN) for name, value in facts.items() if value}

    @property
    def links(self) -> dict[str, str]:
        """URLs by what they lead to, without those that are missing."""
        links = {"Decide": self.approval_url, "Report": self.report_url, "Run in Airflow": self.run_url}
        return {name: url for name, url in links.items() if url.startswith(("https://", "http://"))}

    @property
    def text(self) -> str:
        """The message as plain text of several lines."""
        parts = [
            f"{self.subject}\n{self.sentence}",
            "\n".join(f"- {line}" for line in (*self.reasons, *self.warnings)),
            "\n".join(f"{name}: {value}" for name, value in self.facts.items()),
            "\n".join(f"{name}: {url}" for name, url in self.links.items()),
        ]
        return "\n\n".join(part for part in parts if part)

    @property
    def html(self) -> str:
        """The message as an HTML page that loads nothing and runs nothing."""
        return _environment().get_template("notice.html.j2").render(notice=self, colour=COLOURS[self.event])


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
