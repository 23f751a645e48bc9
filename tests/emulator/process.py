"""The emulator as the process its users start, for what only a process shows: being killed, its pace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.paths import PROJECT_DIR
from tests.support.processes import free_port
from tests.support.waiting import wait_until


@contextmanager
def emulator_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m include.gcp_emulator`; give the process and the base URL once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "include.gcp_emulator", "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    with subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stderr=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is not None or is_healthy(url))
            assert process.poll() is None, f"the emulator did not start; it ended with {process.poll()}"
            yield process, url
        finally:
            process.terminate()
            process.communicate(timeout=20)


def is_healthy(url: str) -> bool:
    """Whether an emulator answers there."""
    try:
        return httpx.get(f"{url}/_internal/health").status_code == 200
    except httpx.TransportError:
        return False
