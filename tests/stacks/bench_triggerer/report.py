"""The tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from tests.stacks.bench_triggerer.measuring import Result

NOTES: Final = (
    "One triggerer after the other on this machine, with SQLite. sleeping: triggers that wait for nothing, so what is "
    "left is what Airflow itself spends; one of them has looked up a connection, for which Airflow loads its API. "
    "TuningJobTrigger asks the emulator over HTTP. CreateHyperparameterTuningJobTrigger is the Google provider's, "
    "unmodified; it asks a gRPC server of the benchmark that knows the one method it calls, over TLS, because "
    "GOOGLE_CLOUD_UNIVERSE_DOMAIN, the universe_domain of its key file and GRPC_DEFAULT_SSL_ROOTS_FILE_PATH say so. "
    "Blocks are measured by a trigger beside the others that sleeps 10 ms at a time; what it costs is in every column. "
    "End to event: from the API's end time until the event is in Airflow's database."
)


def print_results(results: list[Result], console: Console) -> None:
    """One column for each contestant."""
    table = Table(title="Waiting in one triggerer", title_justify="left", title_style="bold")
    table.add_column("")
    for result in results:
        table.add_column(result.title, justify="right", overflow="fold")
    for name, cells in _rows(results).items():
        table.add_row(name, *cells)
    console.print(table)
    console.print(NOTES, highlight=False)


def _rows(results: list[Result]) -> dict[str, list[str]]:
    idle = results[0].usage.resident
    return {
        "waiters": [str(result.waiters) for result in results],
        "API calls per minute": [f"{result.calls_per_minute:.1f}" for result in results],
        "CPU seconds per minute": [f"{result.usage.cpu_seconds:.2f}" for result in results],
        "share of a core": [f"{result.usage.cpu_seconds / 60:.1%}" for result in results],
        "resident, MB": [f"{result.usage.resident:.0f}" for result in results],
        "over the first, MB": [f"{result.usage.resident - idle:+.0f}" for result in results],
        "longest block, starting, ms": [f"{1000 * result.blocks[0]:.0f}" for result in results],
        "longest block, waiting, ms": [f"{1000 * result.blocks[1]:.0f}" for result in results],
        "longest block, jobs ending, ms": [f"{1000 * result.blocks[2]:.0f}" for result in results],
        "waiters told of success": [str(result.events) for result in results],
        "end to event, s: p50 / p95 / most": [_delays(result) for result in results],
        "whole machine busy while waiting": [f"{result.usage.machine:.0f}%" for result in results],
    }


def _delays(result: Result) -> str:
    return " / ".join(f"{seconds:.1f}" for seconds in result.delays) if result.delays else "-"


def print_goals(results: list[Result], interval: float, console: Console) -> None:
    """What ours was meant to cost at most, whether it does, and what of it is Airflow's own: the sleeping triggers'."""
    _, sleeping, ours, _ = results
    late = ours.delays[1] if ours.delays else float("inf")
    missing = float(ours.waiters - ours.events)
    goals: dict[str, tuple[float, float, float | None, str]] = {
        "API calls per minute": (ours.calls_per_minute, 30, None, ""),
        "share of a core": (100 * ours.usage.cpu_seconds / 60, 5, 100 * sleeping.usage.cpu_seconds / 60, "%"),
        "resident over sleeping": (ours.usage.resident - sleeping.usage.resident, 20, None, "MB"),
        "longest block once started": (1000 * max(ours.blocks[1:]), 100, 1000 * max(sleeping.blocks[1:]), "ms"),
        "p95 from end to event": (late, interval + 1, None, "s"),
        "waiters without their event": (missing, 0, None, ""),
    }
    table = Table(title="Goals for TuningJobTrigger", title_justify="left", title_style="bold")
    for column in ("", "measured", "at most", "Airflow's own", ""):
        table.add_column(column)
    for name, (value, most, own, unit) in goals.items():
        verdict = "[green]met" if value <= most else "[bold red]MISSED"
        table.add_row(
            name, f"{value:.1f} {unit}", f"{most:g} {unit}", "" if own is None else f"{own:.1f} {unit}", verdict
        )
    console.print(table)
