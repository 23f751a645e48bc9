"""`vertex-tuning costs`: show what the jobs of each tuning cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from vertex_tuning.cli.check_command import Commands
    from vertex_tuning.config.tuning import Tuning
    from vertex_tuning.costs.budget import JobCost
    from vertex_tuning.costs.pricing import PriceTable

MAX_DAYS: Final = 3650


def add_costs_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "costs",
        help="show what the jobs of each tuning cost",
        description="Show what the tuning jobs of this Airflow installation cost, by tuning: the tokens that Vertex AI "
        "counted, times the price table.",
    )
    parser.add_argument("--days", type=_days, default=30, metavar="N", help="jobs of the last N days; 30 if not given")
    parser.add_argument("--location", help="region of the jobs; those of the tuning files if not given")
    parser.add_argument("--gcp-conn-id", default="google_cloud_default", metavar="ID", help="Airflow connection")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    parser.set_defaults(run=_show_costs)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_DAYS:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 1 to {MAX_DAYS}")
    return int(text)


def _show_costs(arguments: argparse.Namespace) -> int:
    # Lets Airflow's SDK read connections and variables from the metadata database outside of a task, too.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    from vertex_tuning.config.data_tables import table_path
    from vertex_tuning.config.price_table import load_prices
    from vertex_tuning.exceptions import TuningError

    try:
        prices = load_prices(table_path("prices"))
        rows = costs_by_tuning(prices, arguments.days, arguments.location, arguments.gcp_conn_id)
    except TuningError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(rows) if arguments.json else _text(rows, prices, arguments.days))
    return 0


def costs_by_tuning(prices: PriceTable, days: int, location: str | None, gcp_conn_id: str) -> list[dict[str, Any]]:
    """Sum up the costs of the jobs of this Airflow installation, by region and tuning.

    :param days: jobs created in the last days
    :param location: region of the jobs; the regions of all tuning files if not given
    :param gcp_conn_id: Airflow connection to Google Cloud
    :returns: the fields of `CostTotals`, with `tuning`, `location`, `currency` and `max_cost_per_30_days`
    :raises TuningError: no region is known, or the jobs cannot be listed
    """
    from vertex_tuning.config.loader import load_tunings
    from vertex_tuning.config.tuning_folders import tuning_folders
    from vertex_tuning.costs.budget import CostTotals, recent_costs

    tunings, _ = load_tunings(*tuning_folders(Path.cwd()))
    now, period = datetime.now(UTC), timedelta(days=days)
    rows = []
    for region, files in _by_region(tunings, location).items():
        costs = _costs(region, gcp_conn_id, prices)
        for name in sorted(costs.keys() | files.keys()):
            tuning = files.get(name)
            totals = CostTotals.of(recent_costs(costs.get(name, ()), now, period))
            if tuning or totals.jobs:
                limit = tuning.budget.max_cost_per_30_days if tuning else None
                place = {"tuning": name, "location": region, "currency": prices.currency}
                rows.append({**place, **msgspec.structs.asdict(totals), "max_cost_per_30_days": limit})
    return rows


def _by_region(tunings: Iterable[Tuning], location: str | None) -> dict[str, dict[str, Tuning]]:
    """The tunings by region and name.

    :param location: the only region to list
    :raises ConfigurationError: no region is known
    """
    from vertex_tuning.cli.model_command import region_of_tuning
    from vertex_tuning.exceptions import ConfigurationError

    regions: dict[str, dict[str, Tuning]] = {location: {}} if location else {}
    for tuning in tunings:
        region = location or region_of_tuning(tuning.name, tuning)
        regions.setdefault(region, {})[tuning.name] = tuning
    if not regions:
        raise ConfigurationError(
            "include/tunings: found no tuning, expected one. Run this in the project's folder, or name the region: "
            "--location us-central1"
        )
    return regions


def _costs(region: str, gcp_conn_id: str, prices: PriceTable) -> dict[str, list[JobCost]]:
    """The costs of all jobs of this Airflow installation in a region, by tuning; empty for jobs without a tuning."""
    from vertex_tuning.deployment import deployment_id
    from vertex_tuning.hooks.connection import GoogleConnection
    from vertex_tuning.hooks.genai import VertexTuningHook
    from vertex_tuning.jobs.job import DEPLOYMENT_LABEL
    from vertex_tuning.jobs.job_cost import job_cost
    from vertex_tuning.registry.aliases import TUNING_LABEL

    hook = VertexTuningHook(GoogleConnection(location=region, gcp_conn_id=gcp_conn_id))
    costs: defaultdict[str, list[JobCost]] = defaultdict(list)
    for job in hook.jobs_labelled(DEPLOYMENT_LABEL, deployment_id()):
        costs[job.labels.get(TUNING_LABEL, "")].append(job_cost(job, prices))
    return costs


def _text(rows: Sequence[Mapping[str, Any]], prices: PriceTable, days: int) -> str:
    return "\n".join([_table(rows, prices.currency), "", *_notes(rows, prices, days)])


def _table(rows: Sequence[Mapping[str, Any]], currency: str) -> str:
    from tabulate import tabulate

    from vertex_tuning.costs.budget import format_money

    if not rows:
        return "No tuning jobs."
    lines = [
        {
            "tuning": row["tuning"] or "(no tuning)",
            "location": row["location"],
            "jobs": row["jobs"],
            "training tokens": f"{row['training_tokens']:,}",
            "cost": format_money(row["amount"], currency),
            "limit per 30 days": format_money(limit, currency) if (limit := row["max_cost_per_30_days"]) else "",
        }
        for row in rows
    ]
    return tabulate(lines, "keys", disable_numparse=True, colalign=["left", "left", *["right"] * 4])


def _notes(rows: Sequence[Mapping[str, Any]], prices: PriceTable, days: int) -> list[str]:
    """Explanations of the numbers."""
    from vertex_tuning.costs.budget import UPPER_BOUND

    notes = {
        "estimates": "Counted with an estimate, as Vertex AI has not counted the tokens yet",
        "unknown": "Not included, as the tokens or the price of the model are not known",
        "upper_bounds": "Failed or cancelled",
    }
    counts = {kind: sum(row[kind] for row in rows) for kind in notes}
    return [
        f"Jobs of the last {days} days, with the prices of {prices.date}. Predictions and judging are not included.",
        *(f"{notes[kind]}: {count} job{'' if count == 1 else 's'}." for kind, count in counts.items() if count),
        *([UPPER_BOUND] if counts["upper_bounds"] else []),
    ]
