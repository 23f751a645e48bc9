"""The check of `upload_dataset` for local files, without Airflow and without a network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, cast

import msgspec

from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.media_table import media_facts
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.pricing import Cost, parse_count, price_run
from vertex_tuning.costs.recommendations import recommendation
from vertex_tuning.costs.token_estimate import ESTIMATED
from vertex_tuning.datasets.findings import Finding, Severity
from vertex_tuning.datasets.prepare import Prepared, Source, parse_options, prepare, write_report
from vertex_tuning.datasets.rows import answer_text, prompt_texts
from vertex_tuning.datasets.source_names import OF_THIS_MACHINE, split_scheme
from vertex_tuning.datasets.sources import find_sources
from vertex_tuning.datasets.statistics import draw
from vertex_tuning.exceptions import ConfigurationError, DatasetError, TuningError
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import template_mark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vertex_tuning.datasets.prepare import DatasetReport
    from vertex_tuning.hooks.storage import StorageHook

CASES: Final = 3
TEXT_LENGTH: Final = 300

FileOpener = Callable[[Path], IO[bytes]]
"""Opens a file for reading."""


class Message(msgspec.Struct, frozen=True):
    """An error or a warning.

    :param rule: word by which findings are counted, e.g. `json`
    :param file: name of the file; empty if it is about no file
    :param line: line in the file, from 1; 0 for the whole file
    :param path: JSON path inside the row; empty for the row itself
    :param message: the whole message, with the place
    """

    rule: str
    file: str
    line: int
    path: str
    message: str

    @classmethod
    def of(cls, finding: Finding) -> Message:
        return cls(finding.kind, finding.file, finding.line, finding.path, str(finding))


class Tokens(msgspec.Struct, frozen=True):
    """Estimated billable tokens of an epoch.

    :param training: of the training data, with files as they cost at least
    :param training_at_most: the same, with files as they cost at most
    """

    training: int
    training_at_most: int
    validation: int = 0


class CheckResult(msgspec.Struct, frozen=True):
    """Result of the check of a dataset.

    :param valid: whether the data can be used
    :param error: why the data cannot be used; empty if it can
    :param is_usage_error: whether an argument is wrong, not the data
    :param name_columns: whether the names of the columns, or fields, may be missing
    :param report: file with all findings; None if none was written
    :param converted: files with the data as it would be uploaded
    :param errors: the first errors
    :param warnings: the first warnings
    :param counts: number of findings by severity (error, warning, dropped) and kind
    :param cost: None without a base model
    :param training_rows: examples to train on
    :param validation_rows: examples to measure the model with
    :param labels: number of different responses, if they are labels; else 0
    :param cases: smoke-test cases: prompts of validation examples, with their response if it is a label
    :param summary: the result as lines for a terminal
    """

    valid: bool = False
    error: str = ""
    is_usage_error: bool = False
    name_columns: bool = False
    report: str | None = None
    converted: list[str] = []
    errors: list[Message] = []
    warnings: list[Message] = []
    counts: dict[Severity, dict[str, int]] = {}
    tokens: Tokens | None = None
    cost: Cost | None = None
    training_rows: int = 0
    validation_rows: int = 0
    labels: int = 0
    cases: list[dict[str, Any]] = []
    summary: list[str] = []

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values, without `summary`."""
        fields = cast("dict[str, Any]", msgspec.to_builtins(self))
        return {name: value for name, value in fields.items() if name != "summary"}

    def text(self) -> str:
        """The result as text for a terminal."""
        if self.error:
            advice = "Name the columns of the data: --columns prompt=NAME,response=NAME" if self.name_columns else ""
            lines = [self.error, advice]
        else:
            lines = [*self.summary, *(f"Written: {path}" for path in self.converted)]
        return "\n".join(filter(None, [*lines, self.report and f"All findings: {self.report}"]))


class _Plan(msgspec.Struct, frozen=True):
    """The arguments about the tuning.

    :param epochs: None for the recommended number
    """

    task: str | None
    base_model: str
    epochs: int | None


def check_dataset(
    train: str,
    *,
    validation: str | None = None,
    columns: Mapping[str, str] | None = None,
    form: str | None = None,
    base_model: str | None = None,
    task: str | None = None,
    epochs: int | None = None,
    validation_fraction: float | None = None,
    convert: str | None = None,
    report: str | None = None,
    open_file: FileOpener | None = None,
) -> CheckResult:
    """Check a dataset of local files.

    :param train: training data
    :param validation: validation data
    :param columns: names of the `prompt` and the `response` column
    :param form: format of files whose rows do not show it
    :param base_model: model to tune, for its limits and its price
    :param task: kind of task, for Google's recommendations; `classification` if not given and the responses are labels
    :param epochs: epochs of the tuning, for the price; as recommended if not given
    :param validation_fraction: share of the training data to set aside for validation
    :param convert: file to write the training data to as it would be uploaded; validation data is written to the same
        folder
    :param report: file to write all findings to
    :param open_file: function that opens the files; None for the usual one
    """
    options = {"columns": dict(columns or {}), "format": form, "validation_fraction": validation_fraction}
    try:
        plan = _Plan(task, base_model or "", parse_count("epochs", epochs))
        recommendation(task)
        sources = {"training": _sources(train, open_file), "validation": _sources(validation, open_file)}
        _require_other_file(convert, sources)
        with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
            prepared = prepare(
                *sources.values(),
                options=parse_options(options),
                folder=Path(folder),
                facts=media_facts(plan.base_model),
            )
            _write_report(prepared, report)
            result = _result(prepared, sources, plan, report)
            written = _convert(prepared, sources, convert) if convert and result.valid else []
            return msgspec.structs.replace(result, converted=written)
    except TuningError as error:
        return _refused(str(error), is_usage_error=isinstance(error, ConfigurationError))
    except OSError as error:
        return _refused(f"{error.filename}: {error.strerror}.")


def _refused(error: str, *, is_usage_error: bool = False) -> CheckResult:
    """The result if the data could not be read."""
    rule = "usage" if is_usage_error else "file"
    return CheckResult(error=error, is_usage_error=is_usage_error, errors=[Message(rule, "", 0, "", error)])


def _sources(path: str | None, open_file: FileOpener | None) -> list[Source]:
    """Find the files as `upload_dataset` does."""
    if not path:
        return []
    scheme, _ = split_scheme(path)
    if scheme not in OF_THIS_MACHINE:
        raise ConfigurationError(
            f"Dataset: found a {plain(scheme)}:// URI, expected a local file or pattern: the check uses no network. "
            "Copy the file first."
        )
    found = find_sources(path, [Path.cwd(), _folder(path)], cast("StorageHook", None))  # local files need no hook
    return [_opened_by(open_file, source) for source in found] if open_file else found


def _folder(path: str) -> Path:
    try:
        return Path(path).resolve().parent
    except RuntimeError:
        # A loop of links, up to Python 3.12; the search for the file says so.
        return Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolve() has just failed


def _opened_by(open_file: FileOpener, source: Source) -> Source:
    return source._replace(open=lambda: open_file(cast(Path, source.path)))


def _require_other_file(convert: str | None, sources: Mapping[str, list[Source]]) -> None:
    """Check that no file of the dataset is overwritten.

    :raises ConfigurationError: it would be
    """
    paths = {source.path.resolve() for files in sources.values() for source in files if source.path}
    if convert and not paths.isdisjoint({Path(convert).resolve(), _validation_path(convert).resolve()}):
        raise ConfigurationError(f"convert: found {plain(convert)}, a file of the dataset, expected another file.")


def _convert(prepared: Prepared, sources: Mapping[str, list[Source]], convert: str) -> list[str]:
    """Write the data as it would be uploaded.

    :returns: the files
    """
    targets = {"training": Path(convert), "validation": _validation_path(convert)}
    reports = {"training": prepared.training, "validation": prepared.validation}
    for name, report in reports.items():
        if report:
            shutil.copyfile(_rows_path(report, sources[name]), targets[name])
    return [str(targets[name]) for name, report in reports.items() if report]


def _validation_path(convert: str) -> Path:
    path = Path(convert)
    return path.with_name(f"{path.stem}-validation{path.suffix}")


def _rows_path(report: DatasetReport, sources: list[Source]) -> Path:
    """The file with the rows as they would be uploaded."""
    return Path(report.path) if report.path else cast(Path, sources[0].path)


def _write_report(prepared: Prepared, report: str | None) -> None:
    if report:
        with Path(report).open("wb") as file:
            write_report(prepared, file)


def _result(prepared: Prepared, sources: Mapping[str, list[Source]], plan: _Plan, report: str | None) -> CheckResult:
    result = CheckResult(
        report=report,
        errors=list(map(Message.of, prepared.shown["error"])),
        warnings=list(map(Message.of, [*prepared.shown["dropped"], *prepared.shown["warning"]])),
        counts=prepared.counts,
        training_rows=prepared.training.rows,
        validation_rows=prepared.validation.rows if prepared.validation else 0,
    )
    try:
        prepared.require_valid()
    except DatasetError as error:
        return msgspec.structs.replace(result, error=str(error), name_columns=_may_lack_columns(prepared))
    return _priced(result, prepared, sources, plan)


def _priced(result: CheckResult, prepared: Prepared, sources: Mapping[str, list[Source]], plan: _Plan) -> CheckResult:
    """The result of a dataset that can be used, with its tokens and its price."""
    training, held_out = prepared.training, prepared.validation
    recommended = recommendation(plan.task or ("classification" if training.labels else None))
    advice = [Message("recommendation", "", 0, "", text) for text in recommended.warnings(training.rows)]
    tokens = Tokens(
        training.tokens, training.text_tokens + training.files.tokens.high, held_out.tokens if held_out else 0
    )
    cost = None
    if plan.base_model:
        cost = price_run(
            plan.base_model,
            tokens.training,
            plan.epochs or recommended.epoch_count(training.rows),
            load_prices(table_path("prices")),
            ESTIMATED,
            most_tokens=tokens.training_at_most,
            can_inspect=training.files.unknown > 0,
        )
    examples = _rows_path(held_out or training, sources["validation"] or sources["training"])
    return msgspec.structs.replace(
        result,
        valid=True,
        warnings=[*advice, *result.warnings],
        tokens=tokens,
        cost=cost,
        labels=len(training.labels),
        cases=_cases(examples, labelled=bool(training.labels)),
        summary=[*_summary(prepared, tokens, cost), *(message.message for message in advice), *_findings(prepared)],
    )


def _summary(prepared: Prepared, tokens: Tokens, cost: Cost | None) -> list[str]:
    training, held_out = prepared.training, prepared.validation
    kind = f"responses are {len(training.labels)} labels" if training.labels else "responses are texts"
    rows = f"{training.rows} training examples, {held_out.rows if held_out else 0} validation examples"
    converted = f" {training.converted} rows converted from {training.format}." if training.converted else ""
    price = (
        f"Cost: {cost}" if cost else f"Tokens of an epoch: {tokens.training:,} ({ESTIMATED}). Price: set --base-model"
    )
    return [f"{rows}; {kind}.{converted}", draw(training.statistics), price]


def _findings(prepared: Prepared) -> list[str]:
    texts = {"Rows left out": prepared.text("dropped"), "Warnings": prepared.text("warning")}
    return [f"{title}:\n{text}" for title, text in texts.items() if text]


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
