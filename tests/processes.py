"""What tests of whole stacks of processes share."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def left_running(home: Path) -> list[psutil.Process]:
    """Processes that were started for an installation."""
    found = []
    for process in psutil.process_iter(["environ"]):
        environment = process.info["environ"] or {}
        if environment.get("AIRFLOW_HOME") == str(home) and process.pid != os.getpid():
            found.append(process)
    return found


def eventually(what: Callable[[], Any], seconds: float = 240) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return result
