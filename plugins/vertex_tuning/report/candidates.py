"""The candidates of a sweep: a table, and the validation losses of all in one chart."""

from __future__ import annotations

from typing import Literal

import msgspec

from vertex_tuning.report.charts import Chart, Line
from vertex_tuning.report.names import value_label, value_text
from vertex_tuning.resources.resource_urls import job_url
from vertex_tuning.results import CandidateResult, SelectionResult


class CandidateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate of a sweep.

    :param state: `selected` for the best candidate
    :param value: the value that selects, as text
    :param error: why it failed; empty if it did not
    :param job: its tuning job; empty if none was created
    :param url: page of the job; None without a job
    """

    number: int
    epochs: int | None
    learning_rate_multiplier: float | None
    adapter_size: int | None
    state: Literal["selected", "succeeded", "failed", "skipped"]
    value: str
    error: str = ""
    job: str = ""
    url: str | None = None


class CandidateTable(msgspec.Struct, frozen=True, kw_only=True):
    """All candidates of a sweep.

    :param value: label of the value that selects
    :param reason: why the best candidate is the best
    :param chart: validation loss of each candidate; None without losses
    """

    value: str
    reason: str
    rows: list[CandidateRow]
    chart: Chart | None


def candidates(found: SelectionResult, epochs: int | None, local: str) -> CandidateTable:
    """The candidates for the report.

    :param epochs: epochs of candidates whose settings do not give them
    :param local: base URL of a local Google Cloud; empty for Google's own
    """
    return CandidateTable(
        value=value_label(found.select_by),
        reason=_reason(found),
        rows=[_row(found, candidate, epochs, local) for candidate in found.candidates],
        chart=_chart(found),
    )


def _row(found: SelectionResult, candidate: CandidateResult, epochs: int | None, local: str) -> CandidateRow:
    settings = candidate.settings
    return CandidateRow(
        number=candidate.number,
        epochs=settings.get("epoch_count") or epochs,
        learning_rate_multiplier=settings.get("learning_rate_multiplier"),
        adapter_size=settings.get("adapter_size"),
        state="selected" if candidate.index == found.selected else candidate.state,
        value=value_text(found.select_by, candidate.value) if candidate.value is not None else "",
        error=candidate.error,
        job=candidate.job_name,
        url=job_url(candidate.job_name, local) if candidate.job_name else None,
    )


def _reason(found: SelectionResult) -> str:
    label, known = value_label(found.select_by), [one for one in found.candidates if one.value is not None]
    best = next((one for one in found.candidates if one.index == found.selected), None)
    if best is None or best.value is None:
        return f"No candidate is selected: too few succeeded with a value for {label}."
    kind = "lowest" if "loss" in found.select_by else "highest"
    text = f"Candidate {best.number} is selected: {label} is {value_text(found.select_by, best.value)}"
    if len(known) == 1:
        return f"{text}. No other candidate has this value."
    return f"{text}, the {kind} of {len(known)} candidates. The sample is not used to select."


def _chart(found: SelectionResult) -> Chart | None:
    curves = {one.index: dict(one.curve) for one in found.candidates if one.curve}
    if not curves:
        return None
    steps = sorted({step for curve in curves.values() for step in curve})
    lines = [
        Line(
            f"Candidate {index + 1}",
            "selected" if index == found.selected else "other",
            [curve.get(step) for step in steps],
            len(curve),
        )
        for index, curve in curves.items()
    ]
    # The last line lies on top.
    lines.sort(key=lambda line: line.kind == "selected")
    return Chart(title="Validation loss", unit="", steps=steps, lines=lines, marks=[], overfitting_step=None)
