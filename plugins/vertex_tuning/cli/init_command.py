"""`vertex-tuning init`: write a tuning file for local data, filled from a check of the data."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vertex_tuning.cli.check_command import add_columns

if TYPE_CHECKING:
    from vertex_tuning.cli.check_command import Commands
    from vertex_tuning.dataset_check import CheckResult

FOLDER: Final = Path("include/tunings")
VALIDATION_FRACTION: Final = 0.1
TASKS: Final = ("classification", "summarization", "extractive_qa", "chat")
SPECIAL: Final = frozenset("*?[]{}:")
"""Characters of patterns, templates and URIs. The path of the data must not have one."""


def add_init_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "init",
        help="write a tuning file for your data",
        description=f"Check local data and write the tuning file {FOLDER}/NAME.yaml for it, with comments.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the tuning: lower-case letters, digits and _")
    parser.add_argument("--data", required=True, metavar="FILE", help="JSON lines or CSV, plain or gzipped")
    add_columns(parser)
    parser.add_argument(
        "--task",
        choices=TASKS,
        help="kind of task; classification if not given and the responses are labels",
    )
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> int:
    from vertex_tuning.exceptions import ConfigurationError

    try:
        print(write_tuning(arguments.name, Path(arguments.data), arguments.columns, arguments.task))
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def write_tuning(name: str, data: Path, columns: dict[str, str], task: str | None) -> str:
    """Check data and write its tuning file, and the schema that editors read.

    :returns: what was found and written, and what to do next
    :raises ConfigurationError: the name or the data cannot be used, or the file exists
    """
    from vertex_tuning.config.loader import load_tuning
    from vertex_tuning.config.tuning_schema import SCHEMA_FILE, schema_text
    from vertex_tuning.dataset_check import check_dataset

    path = FOLDER / f"{name}.yaml"
    _require_usable(name, path, data)
    check = check_dataset(str(data), columns=columns, task=task, validation_fraction=VALIDATION_FRACTION)
    _require_data(data, check)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path.write_text(_tuning_text(name, _source(data), columns, task, check), encoding="utf-8")
    (FOLDER / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    load_tuning(path)
    return f"{check.text()}\nWrote {path}. Set its schedule and its smoke test, then run: vertex-tuning lint"


def _require_usable(name: str, path: Path, data: Path) -> None:
    from vertex_tuning.config.tuning import NAME
    from vertex_tuning.exceptions import ConfigurationError

    if not re.fullmatch(NAME, name):
        raise ConfigurationError(
            f"NAME: found {name!r}, expected a lower-case letter, then lower-case letters, digits and _, at most 63 "
            "characters."
        )
    if path.exists():
        raise ConfigurationError(f"NAME: found {path}, expected no such file. Choose another name.")
    shown = str(data.resolve())
    if not shown.isprintable() or SPECIAL.intersection(shown):
        raise ConfigurationError(
            f"--data: found the path {shown!a}, expected one without {' '.join(sorted(SPECIAL))} and control "
            "characters. Copy the file elsewhere."
        )


def _require_data(data: Path, check: CheckResult) -> None:
    from vertex_tuning.exceptions import ConfigurationError

    if check.error:
        raise ConfigurationError(f"{check.text()}\nNothing was written.")
    if not check.validation_rows:
        raise ConfigurationError(
            f"--data: found {check.training_rows} examples in {data}, expected enough to set aside "
            f"{VALIDATION_FRACTION:.0%} for validation. Add examples. Nothing was written."
        )


def _source(data: Path) -> str:
    """The path of the data in the tuning: relative to the project if the data is in it."""
    file, project = data.resolve(), Path.cwd().resolve()
    return str(file.relative_to(project) if file.is_relative_to(project) else file)


def _tuning_text(name: str, source: str, columns: dict[str, str], task: str | None, check: CheckResult) -> str:
    from vertex_tuning.config.tuning_schema import SCHEMA_LINE

    labelled = bool(check.labels) and task in (None, "classification")
    return _TEMPLATE.format(
        schema_line=SCHEMA_LINE,
        description=_scalar(f"Retrains a model on {Path(source).name}."),
        source=_scalar(source),
        source_note=_NOTE_OUTSIDE if Path(source).is_absolute() else "",
        rows=check.training_rows + check.validation_rows,
        columns=_columns_text(columns),
        fraction=VALIDATION_FRACTION,
        task=_task_text(task or ("classification" if labelled else None)),
        display_name=_scalar(name.replace("_", "-")),
        judging=_LABELS if labelled else _TEXTS,
        cases="\n".join(_case_text(case) for case in check.cases),
        rule=_LABELS_RULE if labelled else _TEXTS_RULE,
    )


def _scalar(value: Any) -> str:
    """A value as JSON, which is YAML, too."""
    return json.dumps(value, ensure_ascii=False)


def _columns_text(columns: dict[str, str]) -> str:
    lines = [f"    {column}: {_scalar(name)}" for column, name in columns.items()]
    return "\n".join(["  columns:", *lines, ""]) if lines else ""


def _task_text(task: str | None) -> str:
    if task:
        return f"task: {task}"
    return "# task: summarization # or extractive_qa, or chat: Google's recommendations differ"


def _case_text(case: dict[str, Any]) -> str:
    fields = [f"{field}: {_scalar(value)}" for field, value in case.items()]
    return "    - " + "\n      ".join(fields)


_NOTE_OUTSIDE: Final = "# The data is outside the project: name its folder in [vertex_tuning] dataset_dirs.\n"

_LABELS: Final = """\
  # The responses are labels, so a response must be equal to the expected one.
  min_pass_share: 0.8 # share of the cases that must pass"""

_TEXTS: Final = """\
  # The responses are texts. Until you add a condition, a case accepts any response. Conditions:
  #   contains: refund        not_contains: [sorry, cannot]     matches: "^[A-Z].*[.]$"
  #   min_length: 40          max_length: 400                   json_schema: {type: object}
  min_pass_share: 1.0 # share of the cases that must pass"""

_LABELS_RULE: Final = """\
    value: sample.exact_share # share of the sample whose response is the expected label
    min_gain: -0.02 # the new model may be at most 2 percentage points worse: it has learnt from newer data
    confidence: 0.95"""

_TEXTS_RULE: Final = """\
    value: eval_total_loss.last # texts are hardly ever repeated word for word, so the loss on validation data counts
    higher_is_better: false"""

_TEMPLATE: Final = """\
{schema_line}
description: {description}

# When it runs by itself. "0 6 * * 1": Mondays at six.
schedule:
  cron: "0 6 * * 1"
  timezone: UTC

# Region of the job, and bucket of the data: two Airflow Variables. Or write e.g. us-central1 and my-bucket.
location: "{{{{ var.value.vertex_tuning_location }}}}"
bucket: "{{{{ var.value.vertex_tuning_bucket }}}}"

base_model: gemini-3.1-flash-lite
{source_note}training_data: {source} # {rows:,} examples
dataset:
{columns}  validation_fraction: {fraction} # share of the examples that is set aside to judge the model
{task}

# A run that would cost more creates no job.
budget:
  max_cost: 20 # US$, by the price table

# Without epoch_count, Google's recommendation for the task is used.
hyper_parameters:
  learning_rate_multiplier: 1.0
  adapter_size: 4
display_name: {display_name}

# Limits on the new model's values. If the model fails one of them, it is refused.
gates:
  - value: overfitting
    max: 0

# Prompts that are sent to the new model. These are from your data: replace them by the ones that matter most.
smoke_test:
{judging}
  cases:
{cases}

# Models are compared on validation examples: the base model, the model in use and the new one.
evaluation:
  sample_size: 500

# When the new model replaces the model in use.
promotion:
  rule:
{rule}
  on_refused: skip # a refused model ends the run as green; `fail` makes it red
  require_approval: false # true: a person decides in the Airflow UI
"""
