"""Runs the services of docker-compose.yaml without a container engine.

Each is a process of this machine: PostgreSQL and Redis from the system's packages, the rest from this environment.
Commands, settings, mounts, order of start and health checks are the file's own; only hosts, ports and the folders
inside the containers are replaced by what they are here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

import psutil

from tests.support.paths import PROJECT_DIR

PACKAGES: Final = {"initdb": "postgresql", "redis-server": "redis-server", "redis-cli": "redis-tools", "curl": "curl"}
# Several times what two idle cores need.
START_SECONDS: Final = 180
STOP_SECONDS: Final = 60

DATABASE_FOLDER: Final = "/var/lib/postgresql/data"
DATABASE_COMMAND: Final = ["postgres", "-D", DATABASE_FOLDER, "-h", "localhost", "-p", "5432", "-k", ""]
"""What the image of PostgreSQL runs, without a socket file."""


def search_path() -> str:
    """Where programs are found: first this environment, as in the image, then PostgreSQL's own folder, the system."""
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return os.pathsep.join(map(str, (Path(sys.executable).parent, *postgres[-1:], "/usr/local/bin:/usr/bin:/bin")))


def missing_packages() -> list[str]:
    """The Debian packages without which nothing can run."""
    return [package for program, package in PACKAGES.items() if not shutil.which(program, path=search_path())]


class ComposeStack:
    """All services.

    :param services: as Compose resolves them
    :param mounts: of all services, "SOURCE:TARGET[:MODE]" as written
    :param site: the installed wheels, which the image has, too
    :param root: an empty folder which every user may enter, for PostgreSQL does not run as root
    """

    def __init__(self, services: dict[str, Any], mounts: set[str], site: Path, root: Path) -> None:
        self.services = services
        self._site = site
        self.output = root / "output"
        self._root, self._mounts = root, mounts
        self._folders = {"/opt/airflow": root / "airflow", DATABASE_FOLDER: root / "postgres"}
        self._ports = _free_ports("5432", "6379", "8080", "8085")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, container_port: int) -> str:
        return f"http://127.0.0.1:{self._ports[str(container_port)]}"

    # From a container to this machine

    def here(self, text: str) -> str:
        """What a text written for a container means here."""
        text = re.sub(rf"\b({'|'.join(self.services)}|localhost):(?=\d)", "127.0.0.1:", text)
        text = re.sub(rf"\b({'|'.join(self._ports)})\b", lambda port: self._ports[port[0]], text)
        text = text.replace("0.0.0.0", "127.0.0.1").replace("redis-server ", "redis-server --bind 127.0.0.1 ")  # noqa: S104
        for there, folder in self._folders.items():
            text = text.replace(there, str(folder))
        return text

    def environment(self, name: str) -> dict[str, str]:
        """What the image sets, what the file sets, and where the API server listens."""
        home = str(self._folders["/opt/airflow"])
        path, packages = f"{self._site / 'bin'}:{search_path()}", {"PYTHONPATH": str(self._site)}
        image = {**packages, "PATH": path, "HOME": home, "AIRFLOW_HOME": home, "LANG": "C.UTF-8"}
        listen = {"AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": self._ports["8080"]}
        own = {key: self.here(str(value)) for key, value in self.services[name]["environment"].items()}
        return {**image, **listen, "HOSTNAME": socket.gethostname(), **own}

    def _mount(self) -> None:
        """Give everything its place; copies, so that nothing is found here which the containers have not got."""
        for folder in (self.output, self._folders["/opt/airflow"]):
            folder.mkdir()
        for source, target, *_ in (mount.split(":") for mount in self._mounts):
            folder = Path(self.here(target))
            if source.startswith("."):
                shutil.copytree(PROJECT_DIR / source, folder, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                folder.mkdir()

    # Start

    def start(self) -> None:
        """Start every service when what it depends on is there; return when all are healthy."""
        self._mount()
        self._create_database()
        waits = {name: service.get("depends_on") or {} for name, service in self.services.items()}
        for name in TopologicalSorter(waits).static_order():
            for other, how in waits[name].items():
                self._wait_for(other, how["condition"])
            self._spawn(name)
        for name, service in self.services.items():
            if "healthcheck" in service:
                self._wait_for(name, "service_healthy")

    def _create_database(self) -> None:
        """What the image of PostgreSQL does when its volume is empty."""
        settings, data = self.environment("postgres"), self._folders[DATABASE_FOLDER]
        password = self._root / "password"
        password.write_text(settings["POSTGRES_PASSWORD"])
        for path in (password, data):
            shutil.chown(path, system_user("postgres").get("user", os.geteuid()))
        initdb = ["initdb", "--no-sync", "--auth=scram-sha-256", f"--username={settings['POSTGRES_USER']}"]
        create = f"CREATE DATABASE {settings['POSTGRES_DB']};"
        self._run_as_postgres([*initdb, f"--pwfile={password}", "-D", str(data)], "")
        self._run_as_postgres(["postgres", "--single", "-D", str(data), "postgres"], create)

    def _run_as_postgres(self, command: list[str], statement: str) -> None:
        environment, user = self.environment("postgres"), system_user("postgres")
        done = subprocess.run(command, env=environment, input=statement.encode(), capture_output=True, cwd="/", **user)
        assert done.returncode == 0, done.stderr

    def _spawn(self, name: str) -> None:
        command = self.services[name].get("command") or DATABASE_COMMAND
        with (self.output / f"{name}.log").open("wb") as output:
            self._processes[name] = subprocess.Popen(
                [self.here(word) for word in command],
                env=self.environment(name),
                cwd=self._folders["/opt/airflow"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **system_user(name),
            )

    def _wait_for(self, name: str, condition: str) -> None:
        """:raises AssertionError: when it is not to be, with what the service has written"""
        deadline = time.monotonic() + START_SECONDS
        while not self._meets(name, condition):
            stopped = self._processes[name].poll() is not None
            assert not stopped, f"{name} has ended:\n{self.tail(name)}"
            assert time.monotonic() < deadline, f"{name} is not {condition} in time:\n{self.tail(name)}"
            time.sleep(0.5)

    def _meets(self, name: str, condition: str) -> bool:
        if condition == "service_completed_successfully":
            return self._processes[name].poll() == 0
        return self.is_healthy(name)

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says just now."""
        kind, *words = self.services[name]["healthcheck"]["test"]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        command = [self.here(word) for word in command]
        return subprocess.run(command, env=self.environment(name), capture_output=True, cwd="/").returncode == 0

    def tail(self, name: str) -> str:
        """The last that a service has written."""
        return (self.output / f"{name}.log").read_text(errors="replace")[-4000:]

    # Stop

    def stop(self, *names: str) -> None:
        """Stop services the way an engine does, each by a signal to its first process.

        :raises AssertionError: when one, or what it has started, had to be killed
        """
        stopping = {name: self._processes.pop(name) for name in names if name in self._processes}
        family = [member for process in stopping.values() for member in _family(process.pid)]
        for name, process in stopping.items():
            # The images' stop signals; SIGTERM would have PostgreSQL wait until every client has gone.
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        _, stubborn = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for member in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        for process in stopping.values():
            process.wait(STOP_SECONDS)
        assert not stubborn, f"had to be killed: {stubborn}"

    def stop_all(self) -> None:
        """Stop everything, the databases last."""
        try:
            self.stop(*(self._processes.keys() - {"postgres", "redis"}))
        finally:
            self.stop("postgres", "redis")


@contextlib.contextmanager
def running(services: dict[str, Any], mounts: set[str], site: Path) -> Iterator[ComposeStack]:
    """All services in a folder of their own for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="compose-") as root:
        Path(root).chmod(0o755)
        stack = ComposeStack(services, mounts, site, Path(root))
        try:
            stack.start()
            yield stack
        finally:
            stack.stop_all()


def _free_ports(*container_ports: str) -> dict[str, str]:
    """A free port of this machine for each port of a container."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in container_ports]
        return {port: str(probe.getsockname()[1]) for port, probe in zip(container_ports, probes, strict=True)}


def system_user(name: str) -> dict[str, Any]:
    """PostgreSQL refuses to run as root, and its package brings a user for it."""
    as_postgres = name == "postgres" and os.geteuid() == 0
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if as_postgres else {}


def _family(pid: int) -> list[psutil.Process]:
    """A process and everything it has started, and that in turn."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
