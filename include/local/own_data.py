"""`make demo DATASET=…`: the data is checked, and a tuning of its own is written for it, before anything starts."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from include.local.dataset_check import Answer, Question, check_dataset
from include.local.own_tunings import MAX_NAME, NAME, name_of, tuning_fields
from include.local.stack import PROJECT_DIR, Stack, StackError

HELD_OUT: Final = 0.15
HELD_OUT_OF_MANY: Final = 0.1
"""Of 1,000 examples and more; they are a part of those that `HELD_OUT` would be."""
MANY: Final = 1_000
SPECIAL: Final = frozenset("*?[]{}:")
"""Characters of patterns, templates, URIs and lists of folders: no path of a dataset may have one."""


@dataclass(frozen=True)
class OwnData:
    """What the user has named.

    :param dataset: training data: a file of JSON lines or CSV, plain or gzipped; `validation` likewise
    :param prompt: name of the prompt's column or field; `response` likewise
    :param task: kind of task, for Google's recommendations
    :param name: of the tuning; made from the file's name when not given
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
    """Check data, say what it is, and write its tuning.

    :returns: the tuning's name
    :raises StackError: the data cannot be used; says why and what to do
    """
    training, validation = _file("DATASET", data.dataset), data.validation and _file("VALIDATION", data.validation)
    name = _name(data, training, stack)
    report = stack.home / "dataset-report.json"
    answer = _check(data, report)
    _print(answer, data, report, console)
    stack.tunings.write(
        name,
        tuning_fields(
            name=name,
            training=training,
            validation=validation,
            columns=data.columns,
            task=data.task or ("classification" if answer.labels else None),
            rows=answer.rows,
            validation_fraction=None if validation else _held_out(answer),
            labelled=bool(answer.labels),
            cases=answer.cases,
        ),
    )
    return name


def _held_out(answer: Answer) -> float:
    return HELD_OUT if answer.rows + answer.validation_rows < MANY else HELD_OUT_OF_MANY


def _file(variable: str, path: Path) -> Path:
    """The file itself, links followed.

    :raises StackError: there is none, or its path cannot stand in a tuning
    """
    if not path.expanduser().is_file():
        found = "a folder" if path.expanduser().is_dir() else "no such file"
        raise StackError(f"{variable}={path}: found {found} in {Path.cwd()}, expected a file of JSON lines or CSV.")
    real = path.expanduser().resolve()
    if unusable := sorted(SPECIAL.intersection(str(real)) or {each for each in str(real) if not each.isprintable()}):
        listed = " ".join(map(ascii, unusable))
        raise StackError(f"{variable}={real!a}: found {listed} in the path, expected none. Copy the file elsewhere.")
    return real


def _name(data: OwnData, training: Path, stack: Stack) -> str:
    """
    :raises StackError: it has not the form of a name, or another tuning has it
    """
    name = data.name or name_of(training)
    if not NAME.fullmatch(name):
        raise StackError(
            f"NAME: found {name!r}, expected a lower-case letter, then lower-case letters, digits and _, "
            f"at most {MAX_NAME} characters. Choose one: NAME=…"
        )
    if (PROJECT_DIR / "include" / "tunings" / f"{name}.yaml").exists():
        raise StackError(f"NAME: found {name!r}, which is a tuning of include/tunings. Choose another one: NAME=…")
    # The same name is the same tuning: its models are compared with each other, so it is not reused by accident.
    before = stack.tunings.training_data(name)
    if not data.name and before not in ("", str(training)):
        raise StackError(
            f"NAME: found {name!r}, which is the tuning of {before}. For other data choose another one: NAME=…\n"
            f"For newer data of the same kind: NAME={name}"
        )
    return name


def _check(data: OwnData, report: Path) -> Answer:
    """:raises StackError: the data has errors"""
    report.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    question = Question(
        training=os.fspath(data.dataset.expanduser()),
        validation=os.fspath(data.validation.expanduser()) if data.validation else None,
        columns=data.columns,
        task=data.task or "",
        validation_fraction=None if data.validation else HELD_OUT,
        report=os.fspath(report),
    )
    try:
        answer = check_dataset(question, PROJECT_DIR)
    except subprocess.CalledProcessError as error:
        raise StackError(f"The check of the data failed:\n{error.stderr.decode(errors='replace')}") from error
    if answer.error:
        where = f"\nAll findings: {report}" if answer.has_report else ""
        raise StackError(f"{answer.error}{where}\nNothing was started.")
    if not answer.validation_rows:
        raise StackError(
            f"{data.dataset}: found {answer.rows} examples, too few to hold some out for judging the model. "
            "Add examples, or name a file of others: VALIDATION=…\nNothing was started."
        )
    return answer


def _print(answer: Answer, data: OwnData, report: Path, console: Console) -> None:
    kind = f"answers are {answer.labels} labels" if answer.labels else "answers are texts"
    console.print(
        f"{data.dataset}: {answer.rows} training examples, {answer.validation_rows} held out; {kind}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if not answer.labels:
        console.print("The local model is small: it learns labels well, and sentences hardly. Gemini learns both.")
    if answer.warnings:
        console.print(
            f"Warnings (all of them: {report}):\n{answer.warnings}", markup=False, highlight=False, soft_wrap=True
        )
