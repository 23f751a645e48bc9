"""Command line: `python -m tests.stacks.bench_triggerer`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from include.local.stack import Stack
from tests.stacks.bench_triggerer import keys
from tests.stacks.bench_triggerer.processes import running_emulator
from tests.stacks.bench_triggerer.report import print_goals, print_results

if TYPE_CHECKING:
    from tests.stacks.bench_triggerer.contestants import Contestant
    from tests.stacks.bench_triggerer.measuring import Plan, Result

CONTESTANTS: Final = ("idle", "sleeping", "ours", "google")
"""In the order in which they are measured."""


def main() -> int:
    """Measure, print, and exit with 0 whether or not the goals are met."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 140))
    with tempfile.TemporaryDirectory(prefix="bench-triggerer-") as home, ExitStack() as stack:
        results = _run(arguments, Path(home), stack, console)
    print_results(results, console)
    if arguments.only is None:
        print_goals(results, arguments.interval, console)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.stacks.bench_triggerer", description=__doc__)
    parser.add_argument("--sensors", type=int, default=1000, help="how many wait (default 1000)")
    parser.add_argument("--interval", type=int, default=30, help="seconds between two looks at a job (default 30)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, help="measure these alone (default: all)")
    parser.add_argument("--json", type=Path, help="file to write the results to as well")
    return parser


def _run(arguments: argparse.Namespace, home: Path, stack: ExitStack, console: Console) -> list[Result]:
    url = stack.enter_context(running_emulator(2 * arguments.sensors, home / "emulator.log"))
    environment = _prepare_airflow(home, arguments.sensors)
    # Only now, because Airflow reads its configuration when it is imported.
    from tests.stacks.bench_triggerer import waiters
    from tests.stacks.bench_triggerer.measuring import Plan, measure

    waiters.create_dag()
    plan = Plan(arguments.sensors, arguments.interval)
    results = []
    for contestant in _contestants(arguments.only or CONTESTANTS, plan, home, url, stack):
        console.print(f"Measuring {contestant.title} …")
        results.append(measure(contestant, plan, environment, home))
        console.print(str(results[-1]), highlight=False)
    return results


def _prepare_airflow(home: Path, sensors: int) -> dict[str, str]:
    """A database, and the triggerer's configuration as `make up` has it, but for Airflow's own default heartbeat."""
    settings = {"TRIGGERER__CAPACITY": str(sensors + 10), "TRIGGERER__JOB_HEARTBEAT_SEC": "5"}
    environment = Stack(home=home, airflow_port=0, emulator_port=0, settings=settings).environment()
    os.environ.clear()
    os.environ.update(environment, AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR")
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return environment


def _contestants(names: Sequence[str], plan: Plan, home: Path, url: str, stack: ExitStack) -> Iterator[Contestant]:
    from tests.stacks.bench_triggerer import waiters
    from tests.stacks.bench_triggerer.contestants import Contestant, Sleeping, Tuning

    private, certificate = keys.make_key()
    account = keys.service_account_key(private, url)
    waiters.add_connection("tuning", {"keyfile_dict": json.dumps(account), "vertex_api_endpoint": url})
    if "idle" in names:
        yield Contestant()
    if "sleeping" in names:
        yield Sleeping("tuning")
    if "ours" in names:
        yield Tuning(url, "tuning", plan.interval)
    if "google" in names:
        yield _google(plan, home, stack, account, private, certificate)


def _google(
    plan: Plan, home: Path, stack: ExitStack, account: dict[str, Any], private: bytes, certificate: bytes
) -> Contestant:
    from tests.stacks.bench_triggerer import stand_in, waiters
    from tests.stacks.bench_triggerer.google_provider import Hyperparameter

    service = stand_in.JobService()
    domain = f"localhost:{stack.enter_context(stand_in.serving(service, private, certificate))}"
    waiters.add_connection("hyperparameter", {"keyfile_dict": json.dumps(account | {"universe_domain": domain})})
    roots = home / "roots.pem"
    roots.write_bytes(certificate)
    redirect = {"GOOGLE_CLOUD_UNIVERSE_DOMAIN": domain, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(roots)}
    return Hyperparameter(service, redirect, "hyperparameter", plan.interval)


if __name__ == "__main__":
    sys.exit(main())
