"""Processes: a real `airflow triggerer`, and what it uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil

from include.local.stack import PROJECT_DIR
from tests.support.processes import free_port

SAMPLE_SECONDS: Final = 2.0
STOP_SECONDS: Final = 30


class TriggererEndedError(Exception):
    """The triggerer has ended by itself; the message has the end of its log."""


@dataclass(frozen=True)
class Usage:
    """
    :param cpu_seconds: per minute, user and system, of all processes of the triggerer
    :param resident: megabytes (1e6 bytes), the most at one time, pages that processes share counted in each
    :param machine: per cent of all the machine's cores that anyone used; near 100, blocks and delays say little
    """

    cpu_seconds: float
    resident: float
    machine: float


class Triggerer:
    """The process and those it starts: Airflow runs the triggers in a child of the process that talks to the database.

    :param log: file with its output
    """

    def __init__(self, process: psutil.Process, log: Path) -> None:
        self.process = process
        self.log = log

    def family(self) -> list[psutil.Process]:
        """
        :raises TriggererEndedError: when it no longer runs
        """
        if not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])
            raise TriggererEndedError(f"The triggerer has ended:\n{tail}")
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        return sum(sum(member.cpu_times()[:2]) for member in self.family())

    def resident(self) -> float:
        return sum(member.memory_info().rss for member in self.family()) / 1e6

    def watch(self, seconds: float) -> Usage:
        """Let time pass, and see what is used meanwhile."""
        started, cpu, most = time.monotonic(), self.cpu_seconds(), 0.0
        psutil.cpu_percent()  # begins the measurement that the next call ends
        while (left := started + seconds - time.monotonic()) > 0:
            time.sleep(min(SAMPLE_SECONDS, left))
            most = max(most, self.resident())
        cpu_seconds = 60 * (self.cpu_seconds() - cpu) / (time.monotonic() - started)
        return Usage(cpu_seconds, most, psutil.cpu_percent())


@contextmanager
def running_triggerer(environment: Mapping[str, str], log: Path) -> Iterator[Triggerer]:
    """Run a triggerer until the block ends."""
    with running(["airflow", "triggerer", "--skip-serve-logs"], environment, log) as process:
        yield Triggerer(process, log)


@contextmanager
def running_emulator(concurrent_jobs: int, log: Path) -> Iterator[str]:
    """Run the local Google Cloud until the block ends, and give its base URL once it answers."""
    port = str(free_port())
    arguments = ["include.gcp_emulator", "--port", port, "--concurrent-tuning-jobs", str(concurrent_jobs)]
    url = f"http://127.0.0.1:{port}"
    with running(arguments, os.environ, log), httpx.Client(transport=httpx.HTTPTransport(retries=7)) as client:
        client.get(f"{url}/_internal/health").raise_for_status()
        yield url


@contextmanager
def running(module: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[psutil.Process]:
    """Run a Python module as a process of its own until the block ends.

    :param module: its name and arguments
    """
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=PROJECT_DIR,
            env=dict(environment),
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as process,
    ):
        found = psutil.Process(process.pid)
        try:
            yield found
        finally:
            _stop(found)


def _stop(process: psutil.Process) -> None:
    if not process.is_running():
        return
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, stubborn = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in stubborn:
        member.kill()
