"""Run the emulator on one port."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path

import uvicorn

from .app import create_app
from .hosts import canonical_host, is_loopback
from .settings import Settings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(f"python -m {__package__}", description=__doc__)
    made.add_argument("--host", type=_host, default="127.0.0.1")
    made.add_argument("--port", type=int, default=8085)
    made.add_argument("--allowed-host", type=_host, action="append", default=[], metavar="NAME",
                        help="further name or address that clients call it by; may be repeated")  # fmt: skip
    made.add_argument("--data-dir", type=Path, help="keep everything here; without it nothing outlives the process")
    made.add_argument("--queue-seconds", type=float, default=Settings.queue_seconds, help="how long a job is PENDING")
    made.add_argument("--experiment-seconds", type=float, default=Settings.experiment_seconds,
                        help="from RUNNING to the job's experiment")  # fmt: skip
    made.add_argument("--step-seconds", type=float, default=Settings.step_seconds, help="least time per training step")
    made.add_argument("--cancel-seconds", type=float, default=Settings.cancel_seconds, help="how long CANCELLING lasts")
    made.add_argument("--concurrent-tuning-jobs", type=int, default=Settings.concurrent_tuning_jobs,
                        help="quota global_concurrent_tuning_jobs per project")  # fmt: skip
    made.add_argument("--quota-mode", choices=("queue", "refuse"), default=Settings.quota_mode)
    made.add_argument("--control", action="store_true", help="obey /_internal although the host is not loopback")
    made.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return made


def _host(text: str) -> str:
    try:
        return canonical_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _serve(arguments: argparse.Namespace, data_dir: Path) -> None:
    settings = Settings(
        data_dir=data_dir,
        queue_seconds=arguments.queue_seconds,
        experiment_seconds=arguments.experiment_seconds,
        step_seconds=arguments.step_seconds,
        cancel_seconds=arguments.cancel_seconds,
        concurrent_tuning_jobs=arguments.concurrent_tuning_jobs,
        quota_mode=arguments.quota_mode,
        control=arguments.control or is_loopback(arguments.host),
        allowed_hosts=(arguments.host, *arguments.allowed_host),
    )
    uvicorn.run(create_app(settings), host=arguments.host, port=arguments.port, log_level=arguments.log_level)


def main() -> None:
    """Serve until interrupted."""
    arguments = parser().parse_args()
    os.umask(0o077)  # only the owner may read datasets and models
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the directory is removed
    logging.basicConfig(level=arguments.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    if arguments.data_dir:
        try:
            _serve(arguments, arguments.data_dir)
        except sqlite3.OperationalError as error:
            sys.exit(f"{arguments.data_dir} cannot be used, perhaps another emulator has it: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="gcp-emulator-") as directory:
        _serve(arguments, Path(directory))


if __name__ == "__main__":
    main()
