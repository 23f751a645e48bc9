"""A host's name for each process of the stack, as if each ran on a machine of its own."""

from __future__ import annotations

import os
import socket


def name() -> str:
    """The name under which the stack starts this process: Airflow records it with everything the process does."""
    return os.environ.get("PGAPPNAME") or socket.gethostname()
