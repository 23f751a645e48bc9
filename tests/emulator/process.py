"""The emulator as the process its users start, for what only a process shows: being killed, its pace."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.support.paths import PROJECT_DIR
from tests.support.processes import free_port


@contextmanager
def emulator_process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m include.gcp_emulator`; give the process and the base URL once it answers."""
    port = free_port()
    command = [sys.executable, "-m", "include.gcp_emulator", "--port", str(port), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    with subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stderr=subprocess.PIPE, text=True) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_healthy(process, url)
            yield process, url
        finally:
            process.terminate()
            process.communicate(timeout=20)


def _wait_until_healthy(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/_internal/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the emulator did not start; it ended with {process.poll()}")
