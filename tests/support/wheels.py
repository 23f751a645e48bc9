"""The project's wheels, built and installed beside this environment; nothing is downloaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.support.paths import PROJECT_DIR

PACKAGES: Final = (PROJECT_DIR, PROJECT_DIR / "include" / "gcp_emulator")


def build_wheels(folder: Path) -> list[Path]:
    """Build the wheels of the package and of the local Google Cloud."""
    for package in PACKAGES:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(package)]
        subprocess.run(build, check=True, capture_output=True)
    return sorted(folder.glob("*.whl"))


def install_wheels(folder: Path) -> Path:
    """Build the wheels and install them into a folder, for a `PYTHONPATH`.

    :param folder: an existing one
    :returns: the folder of the installed packages; its folder `bin` has the commands
    """
    wheels = build_wheels(folder / "dist")
    site = folder / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, *map(str, wheels)], check=True, capture_output=True)
    return site
