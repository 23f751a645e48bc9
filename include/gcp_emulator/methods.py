"""`python -m include.gcp_emulator.methods`: a table of all methods of the emulator, made from its routes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from starlette.routing import BaseRoute, Route

from .app import Emulator
from .settings import Settings


def table(routes: Iterable[BaseRoute]) -> str:
    """Markdown rows of method, HTTP method and path, in the order of the routes; a `/{version}` stands for both."""
    rows = ["| method | HTTP | path |", "|---|---|---|"]
    for route in routes:
        if isinstance(route, Route):
            verbs = "/".join(sorted((route.methods or set()) - {"HEAD"}))
            rows.append(f"| `{route.name}` | {verbs} | `{_short(route.path)}` |")
    return "\n".join(rows) + "\n"


def _short(path: str) -> str:
    """The path without types of parameters and without the common prefix of Vertex AI."""
    plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
    return plain.replace("/{version}/projects/{project}/locations/{location}/", "…/")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        emulator = Emulator(Settings(data_dir=Path(directory)))
        emulator.store.close()
    print(table(emulator.routes))


if __name__ == "__main__":
    main()
