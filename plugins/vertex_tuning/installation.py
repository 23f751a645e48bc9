"""Where Airflow finds this package: as an installed wheel, in the plugins folder, or, by mistake, in both."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from airflow.sdk import conf

from vertex_tuning.provider import DISTRIBUTION


def installed_twice() -> str:
    """Message for an Airflow that has this package as a wheel and in its plugins folder; empty for any other."""
    folder = Path(conf.get("core", "plugins_folder", fallback="")) / "vertex_tuning"
    wheel = _wheel_folder()
    if wheel is None or not (folder / "__init__.py").is_file() or wheel.resolve() == folder.resolve():
        return ""
    used = Path(__file__).resolve().parent
    return (
        f"vertex_tuning: found the package {DISTRIBUTION} in {wheel} and a second copy in {folder}, expected one of "
        f"them. Airflow runs {used}. Uninstall the package, or remove the folder."
    )


def _wheel_folder() -> Path | None:
    """The folder of the installed wheel; None if no wheel is installed."""
    try:
        folder = Path(str(distribution(DISTRIBUTION).locate_file("vertex_tuning")))
    except PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None
