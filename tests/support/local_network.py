"""A network that is closed: Python processes that are started with it reach this machine alone."""

from __future__ import annotations

from pathlib import Path

SITECUSTOMIZE = """
import ipaddress, os, socket, sys

OWN = {None, "", "localhost", socket.gethostname()}


def is_own(host):
    host = host.decode() if isinstance(host, bytes) else host
    try:
        return host in OWN or ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def refuse(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_own(host):
        with open(os.environ["CALLS_OUTSIDE"], "a") as file:
            file.write(f"{event} {host} {sys.argv}\\n")
        raise OSError(f"{event} {host}: the network is closed")


sys.addaudithook(refuse)
"""


def closed_network(folder: Path) -> dict[str, str]:
    """Environment of processes that reach nothing outside.

    :param folder: an existing one; its file `calls` has a line for each call that was refused
    """
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    calls = folder / "calls"
    calls.touch()
    return {"PYTHONPATH": str(folder), "CALLS_OUTSIDE": str(calls)}
