"""Names and addresses of a server."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:]*)(?::[0-9]*)?")
_IN_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def canonical_host(host: str) -> str:
    """The canonical spelling of a name or an address: "Localhost." is "localhost", "[0:0::1]" is "::1".

    :raises ValueError: the text is neither a name nor an address
    """
    bracketed = _IN_BRACKETS.fullmatch(host)
    with suppress(ValueError):
        return str(ipaddress.ip_address(bracketed[1] if bracketed else host))
    name = host.lower().removesuffix(".")
    if not _NAME.fullmatch(name):
        raise ValueError(f"found {host[:100]!r}, expected a host name or an address without scheme and port")
    return name


def host_of(authority: str) -> str:
    """The canonical host of "HOST" or "HOST:PORT", as a Host header has it; addresses of IPv6 need their brackets.

    :raises ValueError: the text is not such a host
    """
    match = _AUTHORITY.fullmatch(authority)
    return canonical_host(match[1] if match else "")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
