"""`make demo DATASET=…`: check the data and write a tuning for it, before anything starts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from include.local.dataset_check import DatasetCheck, check_dataset
from include.local.own_tunings import MAX_NAME, NAME, name_of, tuning_fields
from include.local.stack import PROJECT_DIR, Stack, StackError

HELD_OUT: Final = 0.15
"""Share of the examples that are held out to judge the model."""
HELD_OUT_OF_MANY: Final = 0.1
"""For `MANY` examples and more."""
MANY: Final = 1_000
SPECIAL: Final = frozenset("*?[]{}:")
"""Characters of patterns, templates, URIs and lists of folders. The path of a dataset must not have one."""


@dataclass(frozen=True)
class OwnData:
    """The variables of `make demo`.

    :param dataset: training data: a file of JSON lines or CSV, plain or gzipped
    :param validation: validation data, a file like it
    :param prompt: name of the prompt's column or field
    :param response: name of the response's column or field
    :param task: kind of task, for Google's recommendations
    :param name: name of the tuning; made from the file's name if not set
    """

    dataset: Path
    validation: Path | None = None
    prompt: str | None = None
    response: str | None = None
    task: str | None = None
    name: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        named = {"prompt": self.prompt, "response": self.response}
        return {column: name for column, name in named.items() if name}


def write_tuning(data: OwnData, stack: Stack, console: Console) -> str:
    """Check data, print what was found, and write the data's tuning.

    :returns: the tuning's name
    :raises StackError: the data cannot be used; the message says why and what to do
    """
    training, validation = _file("DATASET", data.dataset), data.validation and _file("VALIDATION", data.validation)
    name = _name(data, training, stack)
    report = stack.home / "dataset-report.json"
    held_out = None if data.validation else HELD_OUT
    check = _check(data, report, held_out)
    if held_out and check.training_rows + check.validation_rows >= MANY:
        held_out = HELD_OUT_OF_MANY
        check = _check(data, report, held_out)
    _print(check, data, report, console)
    stack.tunings.write(
        name,
        tuning_fields(
            name=name,
            cron=stack.tunings.cron(name),
            training=training,
            validation=validation,
            columns=data.columns,
            task=data.task or ("classification" if check.labels else None),
            rows=check.training_rows,
            validation_fraction=held_out,
            labelled=bool(check.labels),
            cases=check.cases,
        ),
    )
    return name


def _file(variable: str, path: Path) -> Path:
    """The real path of a file.

    :raises StackError: the file is missing, or its path cannot stand in a tuning
    """
    file = path.expanduser()
    if not file.is_file():
        found = "a folder" if file.is_dir() else "no such file"
        where = "" if file.is_absolute() else f" in {Path.cwd()}"
        raise StackError(f"{variable}={path}: found {found}{where}, expected a file of JSON lines or CSV.")
    real = file.resolve()
    if unusable := sorted(SPECIAL.intersection(str(real)) or {sign for sign in str(real) if not sign.isprintable()}):
        listed = " ".join(map(ascii, unusable))
        raise StackError(f"{variable}={real!a}: found {listed} in the path, expected none. Copy the file elsewhere.")
    return real


def _name(data: OwnData, training: Path, stack: Stack) -> str:
    """Return the name of the tuning, which is made from the file's name if the user gives none.

    :raises StackError: the name has a wrong form, or another tuning has it
    """
    name = data.name or name_of(training)
    if not NAME.fullmatch(name):
        raise StackError(
            f"NAME: found {name!r}, expected a lower-case letter, then lower-case letters, digits and _, "
            f"at most {MAX_NAME} characters. Choose one: NAME=…"
        )
    if (PROJECT_DIR / "include" / "tunings" / f"{name}.yaml").exists():
        raise StackError(f"NAME: found {name!r}, which is a tuning of include/tunings. Choose another one: NAME=…")
    # Models of one tuning are compared with each other. So other data gets this name only if the user says so.
    before = stack.tunings.training_data(name)
    if not data.name and before not in ("", str(training)):
        raise StackError(
            f"NAME: found {name!r}, which is the tuning of {before}. For other data choose another one: NAME=…\n"
            f"For newer data of the same kind: NAME={name}"
        )
    return name


def _check(data: OwnData, report: Path, held_out: float | None) -> DatasetCheck:
    """Check the data with the command of the package.

    :raises StackError: the data has errors
    """
    report.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        check = check_dataset(
            PROJECT_DIR,
            data.dataset.expanduser(),
            validation=data.validation and data.validation.expanduser(),
            columns=data.columns,
            task=data.task,
            validation_fraction=held_out,
            report=report,
        )
    except subprocess.CalledProcessError as error:
        raise StackError(f"The check of the data failed:\n{error.stderr.decode(errors='replace')}") from error
    if check.error:
        raise StackError("\n".join([check.error, *_advice(check), "Nothing was started."]))
    if not check.validation_rows:
        raise StackError(
            f"{data.dataset}: found {check.training_rows} examples, too few to hold some out for judging the model. "
            "Add examples, or name a file of others: VALIDATION=…\nNothing was started."
        )
    return check


def _advice(check: DatasetCheck) -> Iterator[str]:
    if check.name_columns:
        yield "If the prompt and the response each have a column or field, name both: PROMPT=… RESPONSE=…"
    if check.report:
        yield f"All findings: {check.report}"


def _print(check: DatasetCheck, data: OwnData, report: Path, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    held_out = "validation examples" if data.validation else "held out"
    kind = f"answers are {check.labels} labels" if check.labels else "answers are texts"
    say(f"{data.dataset}: {check.training_rows:,} training examples, {check.validation_rows:,} {held_out}; {kind}.")
    if not check.labels:
        say(
            "The local model is small: it learns labels well, and sentences hardly. Gemini learns both. "
            "So the smoke test accepts any answer."
        )
    if check.warnings:
        say("\n  ".join([f"Warnings (all findings: {report}):", *(warning.message for warning in check.warnings)]))
