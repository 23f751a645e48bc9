"""Starts, watches and stops the four processes of Airflow and the local Google Cloud."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import psutil

from include.local.own_tunings import OwnTunings

PROJECT_DIR: Final = Path(__file__).resolve().parent.parent.parent
CLOUD_PROJECT: Final = "local-project"
BUCKET: Final = "local-tuning-data"
LOCATION: Final = "us-central1"
HOST: Final = "127.0.0.1"
USER: Final = "admin"
MAX_PORT: Final = 65_535
START_SECONDS: Final = 120
STOP_SECONDS: Final = 10
PRIVATE_UMASK: Final = 0o077
"""Only the owner can read datasets, logs and secrets: other people may use the machine."""
CALLERS_SETTINGS: Final = "AIRFLOW__VERTEX_TUNING__"
"""Airflow options that the caller's environment may set. No other Airflow option of the caller is used."""
PARSE_INTERVAL: Final = 5
"""Seconds between two parses of DAG files and tunings: the author of a new one sees it soon."""


class StackError(Exception):
    """The stack cannot start or run. The message is for the person at the terminal."""


@dataclass(frozen=True)
class Stack:
    """One installation: its folder, ports and options.

    :param home: folder for the database, logs, passwords and the local Google Cloud's data
    :param airflow_port: port of the Airflow UI and its API
    :param emulator_port: port of the local Google Cloud
    :param settings: further Airflow configuration, `SECTION__KEY` to value
    :param emulator_options: further options of the local Google Cloud's command line
    """

    home: Path
    airflow_port: int
    emulator_port: int
    settings: Mapping[str, str] = field(default_factory=dict)
    emulator_options: tuple[str, ...] = ()

    @property
    def airflow_url(self) -> str:
        return f"http://{HOST}:{self.airflow_port}"

    @property
    def emulator_url(self) -> str:
        return f"http://{HOST}:{self.emulator_port}"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def tunings(self) -> OwnTunings:
        """Tunings of the user's data. Airflow shows their DAGs with those of `include/tunings`."""
        return OwnTunings(self.home / "tunings")

    @cached_property
    def secrets(self) -> dict[str, str]:
        """Password and signing keys of this installation, created once. Only the owner can read them."""
        path = self.home / "secrets.json"
        if not path.exists():
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_private(path, {name: secrets.token_urlsafe(16) for name in ("password", "jwt", "api")})
        loaded: dict[str, str] = json.loads(path.read_text())
        return loaded

    def environment(self) -> dict[str, str]:
        """Airflow's configuration.

        Settings of the caller for another Airflow or for Google Cloud are left out.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "STORAGE_EMULATOR"))
        }
        passwords = self.home / "passwords.json"
        _write_private(passwords, {USER: self.secrets["password"]})
        settings = {
            "CORE__DAGS_FOLDER": PROJECT_DIR / "dags",
            "CORE__PLUGINS_FOLDER": PROJECT_DIR / "plugins",
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": "4",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": passwords,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.airflow_url}/execution/",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            "LOGGING__BASE_LOG_FOLDER": self.logs,
            "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
            "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
            "API__BASE_URL": self.airflow_url,
            "API__SECRET_KEY": self.secrets["api"],
            "API_AUTH__JWT_SECRET": self.secrets["jwt"],
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            # A real job takes hours, a local one less than a minute.
            "VERTEX_TUNING__POLL_INTERVAL": "1",
            "VERTEX_TUNING__DEPLOYMENT": "local",
            "VERTEX_TUNING__RETRY_DELAY": "5",
            "DAG_PROCESSOR__REFRESH_INTERVAL": PARSE_INTERVAL,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": PARSE_INTERVAL,
            **_callers_settings(),
            "VERTEX_TUNING__DATASET_DIRS": _folders("DATASET_DIRS", *self.tunings.data_folders()),
            "VERTEX_TUNING__TUNINGS_DIRS": _folders("TUNINGS_DIRS", self.tunings.folder),
            **self.settings,
        }
        return {
            **inherited,
            "AIRFLOW_HOME": str(self.home),
            **{f"AIRFLOW__{name}": str(value) for name, value in settings.items()},
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(self._connection()),
            "AIRFLOW_VAR_VERTEX_TUNING_BUCKET": BUCKET,
            "AIRFLOW_VAR_VERTEX_TUNING_LOCATION": LOCATION,
            "PYTHONUNBUFFERED": "1",
        }

    def _connection(self) -> dict[str, Any]:
        """Anonymous: the local Google Cloud needs no credentials, and google-auth would request them from Google."""
        extra = {
            "project": CLOUD_PROJECT,
            "is_anonymous": True,
            "vertex_api_endpoint": self.emulator_url,
            "storage_api_endpoint": self.emulator_url,
        }
        return {"conn_type": "google_cloud_platform", "extra": extra}

    # Start

    def start(self) -> None:
        """Start everything and wait until it is ready.

        :raises StackError: a port is taken, or a process ended or was not ready in time
        """
        self.stop()
        self.require_free_ports()
        for folder in (self.logs, self.tunings.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(self.home)
        self._migrate(self.environment())
        for name in self._commands():
            self.spawn(name)
        self.wait_until_ready()
        self._create_bucket()

    def require_free_ports(self) -> None:
        """Check that the ports are free.

        :raises StackError: another program listens on a port
        """
        _require_free(self.airflow_port, "AIRFLOW_PORT")
        _require_free(self.emulator_port, "EMULATOR_PORT")

    def _commands(self) -> dict[str, list[str]]:
        """Arguments of Python for each process, in the order of their start."""
        emulator = ["-m", "include.gcp_emulator", "--host", HOST, "--port", str(self.emulator_port)]
        emulator += ["--data-dir", str(self.home / "google-cloud"), "--queue-seconds", "2", "--step-seconds", "0.05"]
        airflow = ["-m", "airflow"]
        return {
            "emulator": [*emulator, *self.emulator_options],
            "api-server": [*airflow, "api-server", "--host", HOST, "--port", str(self.airflow_port), "--workers", "1"],
            "scheduler": [*airflow, "scheduler", "--skip-serve-logs"],
            "dag-processor": [*airflow, "dag-processor"],
            "triggerer": [*airflow, "triggerer", "--skip-serve-logs"],
        }

    def _migrate(self, environment: dict[str, str]) -> None:
        """Create or upgrade Airflow's database."""
        log = self.logs / "migrate.log"
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                cwd=PROJECT_DIR,
                env=environment,
                stdout=output,
                stderr=output,
                umask=PRIVATE_UMASK,
                check=False,
            )
        if done.returncode:
            raise StackError(f"Airflow could not create its database; see {log}")

    def spawn(self, name: str) -> None:
        """Start one process, also again after it has ended.

        :param name: emulator, api-server, scheduler, dag-processor or triggerer
        """
        with (self.logs / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *self._commands()[name]],
                cwd=PROJECT_DIR,
                # A PostgreSQL server shows this name with each connection.
                env={**self.environment(), "PGAPPNAME": name},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                umask=PRIVATE_UMASK,
                start_new_session=True,
            )
        born = psutil.Process(process.pid).create_time()
        self._save_processes({**self._processes(), name: {"pid": process.pid, "born": born}})

    def wait_until_ready(self) -> None:
        """Wait until all processes are ready.

        :raises StackError: a process ended, or was not ready in time
        """
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            self.require_running()
            if time.monotonic() > deadline:
                raise StackError(f"Not ready after {START_SECONDS} s; logs are in {self.logs}")
            time.sleep(0.5)

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            httpx.get(f"{self.emulator_url}/_internal/health", timeout=2).raise_for_status()
            health = httpx.get(f"{self.airflow_url}/api/v2/monitor/health", timeout=5).json()
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all(health[part]["status"] == "healthy" for part in parts)
        return False

    def _create_bucket(self) -> None:
        url = f"{self.emulator_url}/storage/v1/b"
        answer = httpx.post(url, params={"project": CLOUD_PROJECT}, json={"name": BUCKET}, timeout=10)
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    # Watch and stop

    def process(self, name: str) -> psutil.Process | None:
        """The process that `spawn` started under a name; None if it does not run."""
        return _find(self._processes()[name])

    def require_running(self) -> None:
        """Check that all processes run.

        :raises StackError: a process has ended by itself
        """
        for name, process in self._processes().items():
            if not _find(process):
                log = self.logs / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise StackError(f"{name} has ended; the last lines of {log}:\n{tail}")

    def is_running(self) -> bool:
        """Whether a process of this installation still runs."""
        return any(_find(process) for process in self._processes().values())

    def stop(self) -> None:
        """Stop all processes and their children. The emulator stops last, so that running jobs can be cancelled."""
        roots = [root for process in reversed(self._processes().values()) if (root := _find(process))]
        family = [member for root in roots for member in (*_children(root), root)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGTERM)
        _, stubborn = psutil.wait_procs(family, timeout=STOP_SECONDS)
        for member in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(stubborn, timeout=STOP_SECONDS)
        self._save_processes({})

    def _processes(self) -> dict[str, dict[str, float]]:
        path = self.home / "processes.json"
        loaded: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.exists() else {}
        return loaded

    def _save_processes(self, processes: dict[str, dict[str, float]]) -> None:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_private(self.home / "processes.json", processes)


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[None]:
    """Start the stack, and stop it at the end of the block, also after Ctrl-C, SIGTERM or an error."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        stack.start()
        yield
    finally:
        stack.stop()


def _require_free(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = port + 1000 if port + 1000 < MAX_PORT else port - 1000
            raise StackError(
                f"Port {port} is taken by another program. Choose another one: make … {variable}={other}"
            ) from error


def _callers_settings() -> dict[str, str]:
    """Options of this project in the caller's environment: `SECTION__KEY` to value."""
    return {
        name.removeprefix("AIRFLOW__"): value for name, value in os.environ.items() if name.startswith(CALLERS_SETTINGS)
    }


def _folders(option: str, *more: Path) -> str:
    """Value of an option that lists folders: those the caller has set, and more."""
    return ":".join(filter(None, [os.environ.get(CALLERS_SETTINGS + option, ""), *map(str, more)]))


def _find(process: dict[str, float]) -> psutil.Process | None:
    """The process if it still runs. Its start time tells it from a later process with the same id."""
    try:
        candidate = psutil.Process(int(process["pid"]))
        alive = candidate.create_time() == process["born"] and candidate.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return candidate if alive else None


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _make_private(folder: Path) -> None:
    """Remove the rights of other users from a folder and its content. Targets of symbolic links keep theirs."""
    for path in (folder.resolve(), *folder.rglob("*")):
        if not path.is_symlink():
            with contextlib.suppress(FileNotFoundError, PermissionError):  # removed meanwhile, or owned by another user
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~PRIVATE_UMASK)


def _write_private(path: Path, content: Any) -> None:
    """Write JSON atomically, readable by its owner only."""
    temporary = path.with_suffix(".part")
    temporary.touch(mode=0o600)
    temporary.chmod(0o600)
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
