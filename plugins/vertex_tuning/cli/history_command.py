"""`vertex-tuning history`: show the last runs of a tuning."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from vertex_tuning.cli.check_command import Commands
    from vertex_tuning.history.run_history import History
    from vertex_tuning.history.run_record import RunRecord

MAX_LIMIT: Final = 5000

ANY_LOCATION: Final = "us-central1"
"""A connection needs a location; for Cloud Storage it does not matter."""


def add_history_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "history",
        help="show the last runs of a tuning",
        description="Show the last runs of a tuning, newest first: outcome, model, score, gain, loss and cost.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the tuning")
    parser.add_argument("--limit", type=_limit, default=20, metavar="N", help="the last N runs; 20 if not given")
    parser.add_argument("--bucket", help="bucket of the tuning; that of the tuning file if not given")
    parser.add_argument("--gcp-conn-id", default="google_cloud_default", metavar="ID", help="Airflow connection")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=_show_history)


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _show_history(arguments: argparse.Namespace) -> int:
    # Lets Airflow's SDK read connections and variables from the metadata database outside of a task, too.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from vertex_tuning.exceptions import TuningError

    try:
        found = history_of(arguments.name, arguments.bucket, arguments.gcp_conn_id, arguments.limit)
    except TuningError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in found.left_out:
        print(f"Left out: {problem}", file=sys.stderr)
    print(json.dumps(msgspec.to_builtins(found.records)) if arguments.json else _text(found.records))
    return 0


def history_of(name: str, bucket: str | None, gcp_conn_id: str, limit: int | None = None) -> History:
    """The history of a tuning, as the runs of this Airflow installation have written it.

    :param name: name of the tuning
    :param bucket: bucket of the tuning; that of the tuning's file if not given
    :param gcp_conn_id: Airflow connection to Google Cloud
    :param limit: most runs; all if not given
    :raises TuningError: the bucket is not known, or cannot be read
    """
    from vertex_tuning.cli.model_command import field_of_tuning, tuning_of_file
    from vertex_tuning.deployment import deployment_id
    from vertex_tuning.history.run_history import history_folder, read_history
    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.storage import StorageHook

    bucket = bucket or field_of_tuning(name, tuning_of_file(name), "bucket", "name the bucket: --bucket my-bucket")
    storage = StorageHook(GoogleConnection(location=ANY_LOCATION, gcp_conn_id=gcp_conn_id))
    return read_history(storage, history_folder(bucket, deployment_id(), name), limit)


def _text(records: Sequence[RunRecord]) -> str:
    from tabulate import tabulate

    if not records:
        return "No runs."
    table = tabulate([_row(record) for record in records], "keys", disable_numparse=True)
    return "\n".join([*(line.rstrip() for line in table.splitlines()), *_notes(records)])


def _row(record: RunRecord) -> dict[str, str]:
    from vertex_tuning.costs.budget import format_money
    from vertex_tuning.history.record_text import recorded_gain, recorded_score

    return {
        "ended (UTC)": record.ended_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        "outcome": ("rollback " if record.kind == "rollback" and record.outcome != "rolled_back" else "")
        + record.outcome.replace("_", " "),
        "model": record.model_version,
        "score": recorded_score(record),
        "gain": recorded_gain(record),
        "loss": f"{record.validation_loss:.4g}" if record.validation_loss is not None else "",
        "cost": format_money(record.cost, record.currency) if record.cost is not None else "",
    }


def _notes(records: Sequence[RunRecord]) -> list[str]:
    """Explanations of the columns."""
    from vertex_tuning.report.names import is_share, value_label

    values = dict.fromkeys(record.value for record in records if record.value)
    labels = ", ".join(f"{value_label(value).lower()} ({value})" for value in values)
    points = ", in percentage points for shares" if any(map(is_share, values)) else ""
    notes = [
        *([f"Score: {labels}, with its 95 % confidence interval."] if labels else []),
        *([f"Gain over the model in use before the run{points}, with its bounds."] if labels else []),
        *(["Cost: some are estimates, as Vertex AI has not counted the tokens."] if _has_estimates(records) else []),
        *dict.fromkeys(f"Warning: {warning}" for warning in records[0].warnings),
    ]
    return ["", *notes] if notes else []


def _has_estimates(records: Sequence[RunRecord]) -> bool:
    return any(record.is_estimate for record in records)
