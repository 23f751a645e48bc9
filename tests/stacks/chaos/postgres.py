"""A PostgreSQL server for the length of a chaos; its data is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from include.local.stack import HOST, StackError
from tests.stacks.compose_services import search_path, system_user
from tests.support.processes import free_port

USER: Final = "airflow"


def is_installed() -> bool:
    return bool(shutil.which("initdb", path=search_path()))


@contextmanager
def postgres(home: Path) -> Iterator[str]:
    """
    :param home: the installation that the server belongs to; its processes carry it as `AIRFLOW_HOME`
    :returns: the URL of its database, for SQLAlchemy
    :raises StackError: PostgreSQL is not installed or does not start
    """
    if not is_installed():
        raise StackError(
            "PostgreSQL is not installed: found no program initdb. Install it (Debian: apt-get install postgresql)."
        )
    environment = {**os.environ, "PATH": search_path(), "AIRFLOW_HOME": str(home)}
    # Every user may enter the folder, because PostgreSQL refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data, port = Path(folder) / "data", free_port()
        data.mkdir()
        shutil.chown(data, system_user("postgres").get("user", os.geteuid()))
        _run(["initdb", "--no-sync", "--auth=trust", f"--username={USER}", "-D", str(data)], environment)
        options = f"-h {HOST} -p {port} -k '' -F"
        _run(["pg_ctl", "start", "-D", str(data), "-l", str(data / "log"), "-o", options], environment)
        try:
            yield f"postgresql+psycopg2://{USER}@{HOST}:{port}/postgres"
        finally:
            # "immediate" also ends servers that stand still.
            _run(["pg_ctl", "stop", "-D", str(data), "-m", "immediate"], environment)


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        env=environment,
        cwd="/",
        # A server that goes on must not inherit a pipe: reading it would not end.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
        **system_user("postgres"),
    )
    if done.returncode:
        raise StackError(f"PostgreSQL: `{' '.join(command)}` ended with {done.returncode}.")
