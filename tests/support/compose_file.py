"""docker-compose.yaml: as it is written, and as Docker Compose reads it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.paths import PROJECT_DIR

COMPOSE_FILE: Final = PROJECT_DIR / "docker-compose.yaml"
ENV_EXAMPLE: Final = PROJECT_DIR / ".env.example"


def written() -> dict[str, Any]:
    """The file's own content, anchors merged, variables as they stand."""
    content: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
    return content


@cache
def compose_command() -> tuple[str, ...] | None:
    """Compose as a plugin of Docker or as a program of its own; reading a file takes no engine."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) and not subprocess.run([*command, "version"], capture_output=True).returncode:
            return command
    return None


needs_compose = pytest.mark.skipif(
    compose_command() is None,
    reason="Docker Compose reads the file, and is not installed: apt-get install docker-compose (no engine is needed)",
)


def make_env_file(folder: Path) -> Path:
    """Make .env in a folder by the command that .env.example gives its reader."""
    command = re.search(r"^#\s+(\(umask .*\))$", ENV_EXAMPLE.read_text(), re.MULTILINE)
    assert command, "no command found in .env.example"
    shutil.copy(ENV_EXAMPLE, folder)
    subprocess.run(["sh", "-c", command[1]], cwd=folder, check=True)
    return folder / ".env"


def assignments(env_file: Path) -> dict[str, str]:
    """Names and values, as written, of a file like .env."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", env_file.read_text(), re.MULTILINE))


def compose_config(env_file: Path) -> subprocess.CompletedProcess[str]:
    """Let Compose resolve the file, with nothing but that .env in its environment."""
    command = [*(compose_command() or ()), "-f", str(COMPOSE_FILE), "--env-file", str(env_file), "config"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def resolved_services(env_file: Path) -> dict[str, Any]:
    """The services as Compose would start them."""
    done = compose_config(env_file)
    assert done.returncode == 0, done.stderr
    # Compose writes a dollar twice, so that its output could be read again.
    content: dict[str, Any] = yaml.safe_load(done.stdout.replace("$$", "$"))
    services: dict[str, Any] = content["services"]
    return services
