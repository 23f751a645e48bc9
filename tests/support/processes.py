"""What tests of whole stacks of processes share."""

from __future__ import annotations

import os
import socket
import stat
from functools import partial
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

eventually = partial(wait_until, seconds=240, pause=0.2)
"""`wait_until` for a whole Airflow, which takes its time."""


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


def open_to_others(folder: Path) -> dict[str, str]:
    """Everything in a folder, itself included, that other users of the machine have any right to."""
    modes = {path: path.lstat().st_mode for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    return {str(path): stat.filemode(mode) for path, mode in modes.items() if mode & 0o077}
