"""The check of `upload_dataset` for local files, without Airflow: `python -m vertex_tuning check`."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from vertex_tuning.config.media_table import media_facts
from vertex_tuning.costs.recommendations import recommendation
from vertex_tuning.datasets.prepare import Prepared, parse_options, prepare, write_report
from vertex_tuning.datasets.rows import answer_text, prompt_texts
from vertex_tuning.datasets.sources import find_sources
from vertex_tuning.exceptions import DatasetError, TuningError
from vertex_tuning.text.templates import template_mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_tuning.datasets.prepare import Source
    from vertex_tuning.hooks.storage import StorageHook

CASES: Final = 3
TEXT_LENGTH: Final = 300


class CheckResult(msgspec.Struct, frozen=True):
    """Result of the check of a dataset.

    :param error: why the data cannot be used; empty if it can
    :param name_columns: whether the names of the columns, or fields, may be missing
    :param report: file with all findings; None if none was written
    :param warnings: one line for each
    :param training_rows: examples to train on
    :param validation_rows: examples to measure the model with
    :param labels: number of different responses, if they are labels; else 0
    :param cases: smoke-test cases: prompts of validation examples, with their response if it is a label
    """

    error: str = ""
    name_columns: bool = False
    report: str | None = None
    warnings: list[str] = []
    training_rows: int = 0
    validation_rows: int = 0
    labels: int = 0
    cases: list[dict[str, Any]] = []

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return cast("dict[str, Any]", msgspec.to_builtins(self))

    def text(self) -> str:
        """The result as text for a terminal."""
        if self.error:
            advice = "Name the columns of the data: --columns prompt=NAME,response=NAME" if self.name_columns else ""
            lines = [self.error, advice]
        else:
            kind = f"responses are {self.labels} labels" if self.labels else "responses are texts"
            rows = f"{self.training_rows} training examples, {self.validation_rows} validation examples"
            lines = [f"{rows}; {kind}.", *self.warnings]
        return "\n".join(filter(None, [*lines, self.report and f"All findings: {self.report}"]))


def check_dataset(
    train: str,
    *,
    validation: str | None = None,
    columns: Mapping[str, str] | None = None,
    task: str | None = None,
    validation_fraction: float | None = None,
    report: str | None = None,
) -> CheckResult:
    """Check a dataset of local files.

    :param train: training data
    :param validation: validation data
    :param columns: names of the `prompt` and the `response` column
    :param task: kind of task, for Google's recommendations; `classification` if not given and the responses are labels
    :param validation_fraction: share of the training data to set aside for validation
    :param report: file to write all findings to
    """
    options = {"columns": dict(columns or {}), "validation_fraction": validation_fraction}
    try:
        recommendation(task)
        with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
            prepared = prepare(
                _sources(train),
                _sources(validation),
                options=parse_options(options),
                folder=Path(folder),
                facts=media_facts(""),
            )
            _write_report(prepared, report)
            return _result(prepared, train, validation, task, report)
    except TuningError as error:
        return CheckResult(error=str(error))
    except OSError as error:
        return CheckResult(error=f"{error.filename}: {error.strerror}.")


def _sources(path: str | None) -> list[Source]:
    """Find the files as `upload_dataset` does."""
    if not path:
        return []
    folders = [Path.cwd(), Path(path).resolve().parent]
    return find_sources(path, folders, cast("StorageHook", None))  # local files need no hook


def _write_report(prepared: Prepared, report: str | None) -> None:
    if report:
        with Path(report).open("wb") as file:
            write_report(prepared, file)


def _result(
    prepared: Prepared, train: str, validation: str | None, task: str | None, report: str | None
) -> CheckResult:
    try:
        prepared.require_valid()
    except DatasetError as error:
        return CheckResult(error=str(error), name_columns=_may_lack_columns(prepared), report=report)
    training, held_out = prepared.training, prepared.validation
    advice = recommendation(task or ("classification" if training.labels else None)).warnings(training.rows)
    examples = held_out or training
    return CheckResult(
        report=report,
        warnings=[*advice, *map(str.strip, prepared.text("warning").splitlines())],
        training_rows=training.rows,
        validation_rows=held_out.rows if held_out else 0,
        labels=len(training.labels),
        cases=_cases(Path(examples.path or validation or train), labelled=bool(training.labels)),
    )


def _may_lack_columns(prepared: Prepared) -> bool:
    errors = prepared.shown["error"]
    return "columns" in prepared.counts["error"] or any(
        finding.kind == "missing" and finding.path == "contents" for finding in errors
    )


def _cases(examples: Path, *, labelled: bool) -> list[dict[str, Any]]:
    """Cases from examples whose texts can be written to a tuning's file unchanged."""
    with examples.open("rb") as file:
        rows = [msgspec.json.decode(line) for line in islice(file, 10 * CASES) if line.strip()]
    of_two_turns = [row for row in rows if len(row["contents"]) == 2]
    cases = [case for row in of_two_turns if (case := _case(row, labelled=labelled))]
    return cases[:CASES] or [{"prompt": "Hello.", "min_length": 1}]


def _case(row: dict[str, Any], *, labelled: bool) -> dict[str, Any] | None:
    """An example as a case; None if its texts cannot be written to a file. Without labels, any response is accepted."""
    instruction, prompt = prompt_texts(row)
    response = answer_text(row).strip()
    texts = {"prompt": prompt, **({"equals": response} if labelled else {})}
    if not all(texts.values()) or not all(map(_is_plain, [instruction, *texts.values()])):
        return None
    system = {"system_instruction": instruction} if instruction else {}
    return {**texts, **system, **({} if labelled else {"min_length": 1})}


def _is_plain(text: str) -> bool:
    """Whether a text is short and readable, and has no template."""
    return (
        len(text) <= TEXT_LENGTH
        and all(character.isprintable() or character == "\n" for character in text)
        and not template_mark(text)
    )
