"""Render the report as a self-contained HTML page, and as JSON."""

from __future__ import annotations

import hashlib
import math
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vertex_tuning.report import names
from vertex_tuning.report.charts import bars, picture
from vertex_tuning.report.content import Comparison, Report
from vertex_tuning.report.gain_chart import GainPicture, gain_picture
from vertex_tuning.report.rule_text import gain_counts, gain_text, signed_number
from vertex_tuning.report.verdict import NO_STEP
from vertex_tuning.text.plain_text import moment

HERE: Final = Path(__file__).parent

HEADLINE: Final = ("/eval_total_loss", "/eval_fraction_of_correct_next_step_preds")

SIGNS: Final = {
    **dict.fromkeys(("promoted", "first", "passed", "success", "succeeded"), "\N{CHECK MARK}"),
    **dict.fromkeys(("refused", "failed"), "\N{MULTIPLICATION X}"),
    **dict.fromkeys(("skipped", "upstream_failed", "removed"), names.DASH),
    **dict.fromkeys(("missing", "undecided"), "?"),
    "rejected": "\N{CIRCLED DIVISION SLASH}",
    "rolled_back": "\N{ANTICLOCKWISE OPEN CIRCLE ARROW}",
    "waiting": "\N{HORIZONTAL ELLIPSIS}",
}
"""Sign for each state, in addition to its colour, for readers who cannot see colours."""

SECTIONS: Final = (
    ("rollback", "Rollback", "Rollback"),
    ("dataset", "Dataset", "Dataset"),
    ("settings", "Settings", "Tuning job"),
    ("candidates", "Candidates", "Selection"),
    ("curves", "Curves", "Metrics"),
    ("gates", "Gates", "Evaluation"),
    ("smoke", "Smoke test", "Smoke test"),
    ("sample", "Sample", "Evaluation"),
    ("comparison", "Comparison", "Evaluation"),
    ("cost", "Cost", "Dataset"),
    ("earlier", "Earlier runs", ""),
    ("links", "Links", ""),
)
"""Sections of the page: id, title, and the step that fills it. A run without this step has no such section."""


def to_json(report: Report) -> bytes:
    """The report as indented JSON, UTF-8."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def to_html(report: Report) -> str:
    """The report as an HTML page. Its Content-Security-Policy forbids scripts and requests to load anything."""
    style = _file(HERE / "style.css")
    charts = report.metrics.charts if report.metrics else []
    compared = report.comparison
    steps = {step.name: step for step in report.steps}
    return _environment().get_template("template.html.j2").render(
        report=report,
        tiles=list(_tiles(report)),
        steps=steps,
        sections=[
            (name, title)
            for name, title, step in SECTIONS
            if (not step or steps[step].state != NO_STEP) and (name != "earlier" or report.earlier)
        ],
        pictures=[(chart, picture(chart)) for chart in charts],
        sweep=picture(report.candidates.chart) if report.candidates and report.candidates.chart else None,
        differing=[answer for answer in compared.answers if answer.differs] if compared else [],
        gain=_gain_picture(compared) if compared else None,
        # The only text that is not escaped: a file of this package, not data.
        style=Markup(style),  # noqa: S704
        policy=f"default-src 'none'; img-src data:; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'",
    )  # fmt: skip


def _gain_picture(compared: Comparison) -> GainPicture | None:
    if compared.gain is None or compared.least_gain is None:
        return None
    return gain_picture(compared.value, compared.gain, compared.least_gain)


def shade(count: int, total: int) -> int:
    """Shade of a cell of the confusion matrix, from 0 (none of the examples of its label) to 4 (nearly all).

    :param count: number of examples in the cell
    :param total: number of examples of its label
    """
    return math.ceil(4 * count / total) if total else 0


def _tiles(report: Report) -> Iterator[tuple[str, str]]:
    """Key figures of the run (label and text), as far as they are known."""
    for measure in report.metrics.measures if report.metrics else []:
        if measure.name in HEADLINE and measure.last is not None:
            share = "fraction" in measure.name
            yield measure.label, f"{measure.last * 100:.1f} %" if share else names.number_text(measure.last)
    for name, responses in (("Smoke cases passed", report.smoke), ("Exact answers on the sample", report.sample)):
        if responses:
            yield name, f"{responses.passed} of {responses.total}"
    yield from _gain_tiles(report.comparison) if report.comparison else ()
    if report.cost and report.cost.amount is not None:
        yield "Cost", f"{report.cost.currency} {report.cost.amount:,.2f}"
    if report.gates:
        yield "Gates passed", f"{sum(gate.verdict == 'passed' for gate in report.gates)} of {len(report.gates)}"


def _gain_tiles(compared: Comparison) -> Iterator[tuple[str, str]]:
    if gain := compared.gain:
        unit = "Gain, percentage points" if names.is_share(compared.value) else "Gain"
        observed, lower, upper = (
            signed_number(compared.value, number) for number in (gain.observed, gain.lower, gain.upper)
        )
        yield unit, f"{observed} ({lower} to {upper})"
    if compared.needed:
        yield "Examples needed to decide", f"about {compared.needed:,}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        number=names.number_text,
        value=names.value_text,
        seconds=names.seconds,
        share=names.share_text,
        size=names.size,
        percent=lambda share: names.DASH if share is None else f"{share * 100:.0f} %",
        moment=moment,
        value_label=names.value_label,
    )
    environment.globals.update(
        bars=bars,
        shade=shade,
        gain_text=gain_text,
        gain_counts=gain_counts,
        signed=signed_number,
        sign=lambda state: SIGNS.get(state, "\N{WHITE CIRCLE}"),
    )
    return environment


@cache
def _file(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression that allows an inline style in a Content-Security-Policy."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
