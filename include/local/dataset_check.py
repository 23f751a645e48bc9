"""The check that `upload_dataset` makes, made before anything is started.

Run as a program it reads a `Question` from its standard input and writes an `Answer`. It is a process of its own
because it loads the project's package without Airflow, which takes seconds to start.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import types
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

if TYPE_CHECKING:
    from vertex_tuning.datasets.prepare import Prepared, Source
    from vertex_tuning.hooks.storage import StorageHook

PROMPTS: Final = 3
PROMPT_LENGTH: Final = 300
TEMPLATE_MARKS: Final = ("{{", "{%", "{#")


class Question(msgspec.Struct, frozen=True):
    """What is checked.

    :param training: training data, a local file; `validation` likewise, if there is any
    :param columns: names of the `prompt` and the `response` column
    :param task: what kind of task it is; empty for none that is known
    :param validation_fraction: share of the training data that is held out; None for none
    :param report: file that all findings are written to
    """

    training: str
    validation: str | None
    columns: dict[str, str]
    task: str
    validation_fraction: float | None
    report: str


class Answer(msgspec.Struct, frozen=True):
    """What was found.

    :param error: why the data cannot be used; empty when it can
    :param has_report: whether the file with all findings was written
    :param warnings: what is odd about the data, one line each
    :param rows: training examples; `validation_rows` likewise
    :param labels: how many different answers there are, when they are labels; else 0
    :param cases: cases of a smoke test: prompts of held-out examples
    """

    error: str = ""
    has_report: bool = False
    warnings: str = ""
    rows: int = 0
    validation_rows: int = 0
    labels: int = 0
    cases: list[dict[str, Any]] = []


def check_dataset(question: Question, project: Path) -> Answer:
    """Check a dataset in a process of its own.

    :param project: the project's folder
    :raises subprocess.CalledProcessError: the check itself failed
    """
    path = os.pathsep.join(filter(None, [str(project), str(project / "plugins"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "include.local.dataset_check"],
        env={**os.environ, "PYTHONPATH": path},
        input=msgspec.json.encode(question),
        capture_output=True,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Answer)


def main() -> None:
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    _import_airflow_unstarted()
    sys.stdout.buffer.write(msgspec.json.encode(_answer(question)))


def _import_airflow_unstarted() -> None:
    """Let the classes of Airflow's errors be imported, which the package's errors inherit, and start nothing."""
    found = importlib.util.find_spec("airflow")
    package = types.ModuleType("airflow")
    package.__path__ = list((found and found.submodule_search_locations) or [])
    sys.modules["airflow"] = package


def _answer(question: Question) -> Answer:
    from vertex_tuning.exceptions import TuningError

    try:
        with tempfile.TemporaryDirectory(prefix="dataset-") as folder:
            return _check(question, Path(folder))
    except TuningError as error:
        return Answer(error=str(error))
    except OSError as error:
        return Answer(error=f"{error.filename}: cannot be read: {error.strerror}.")


def _check(question: Question, folder: Path) -> Answer:
    from vertex_tuning.costs.recommendations import recommendation
    from vertex_tuning.datasets.prepare import parse_options, prepare, write_report
    from vertex_tuning.exceptions import DatasetError

    recommendation(question.task)
    options = parse_options({"columns": question.columns, "validation_fraction": question.validation_fraction})
    training, validation = _sources(question.training), _sources(question.validation)
    prepared = prepare(training, validation, options=options, folder=folder)
    with Path(question.report).open("wb") as file:
        write_report(prepared, file)
    try:
        prepared.require_valid()
    except DatasetError as error:
        return Answer(error="\n".join(filter(None, [str(error), _advice(prepared)])), has_report=True)
    asked = prepared.validation or prepared.training
    return Answer(
        has_report=True,
        warnings=prepared.text("warning"),
        rows=prepared.training.rows,
        validation_rows=prepared.validation.rows if prepared.validation else 0,
        labels=len(prepared.training.labels),
        cases=_cases(Path(asked.path or question.validation or question.training)),
    )


def _sources(path: str | None) -> list[Source]:
    """The files as `upload_dataset` will find them."""
    from vertex_tuning.datasets.sources import find_sources

    if not path:
        return []
    folders = [Path.cwd(), Path(path).resolve().parent]
    return find_sources(path, folders, cast("StorageHook", None))  # local files need none


def _advice(prepared: Prepared) -> str:
    """What to type when nothing is wrong but the names of the columns."""
    if "columns" in prepared.counts["error"]:
        return "Name the columns of your file: PROMPT=… RESPONSE=…"
    if any(finding.kind == "missing" and finding.path == "contents" for finding in prepared.shown["error"]):
        return "If the rows have one field for the prompt and one for the response, name both: PROMPT=… RESPONSE=…"
    return ""


def _cases(examples: Path) -> list[dict[str, Any]]:
    """Cases of examples whose texts can stand in a tuning's file as they are."""
    from vertex_tuning.datasets.rows import prompt_texts

    with examples.open("rb") as file:
        rows = [msgspec.json.decode(line) for line in islice(file, 10 * PROMPTS) if line.strip()]
    asked = [prompt_texts(row) for row in rows if len(row["contents"]) == 2]
    cases = [
        {"prompt": prompt, **({"system_instruction": instruction} if instruction else {}), "min_length": 1}
        for instruction, prompt in asked
        if _is_plain(prompt) and (not instruction or _is_plain(instruction))
    ]
    return cases[:PROMPTS] or [{"prompt": "Hello.", "min_length": 1}]


def _is_plain(text: str) -> bool:
    """Whether a text is short and for people to read, and Airflow would render nothing in it."""
    return (
        0 < len(text) <= PROMPT_LENGTH
        and all(character.isprintable() or character == "\n" for character in text)
        and not any(mark in text for mark in TEMPLATE_MARKS)
    )


if __name__ == "__main__":
    main()
