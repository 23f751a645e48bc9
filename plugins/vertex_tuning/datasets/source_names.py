"""Check the names of datasets without access to the files. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import template_mark

WILDCARD: Final = re.compile(r"[*?\[]")
OF_THIS_MACHINE: Final = ("file", "local")
MAX_DEEP: Final = 2
"""Most occurrences of `**` in a pattern: each one multiplies the number of folders to search."""

_REMOTE: Final = frozenset({"abfs", "abfss", "adl", "gcs", "memory", "s3", "s3a", "sftp", "ssh"})
"""File systems of Airflow's providers, and fsspec's `memory`, which a deployment may attach. No others: Airflow takes
an unknown scheme for a local path, and `dir`, `zip` and others open local files, too."""
_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+|arn:aws[\w-]*(:[\w-]+)*")
"""Bucket names that may contain a colon: a server, or an S3 access point."""
_QUERY: Final = re.compile(r"[?&;#][^/]*=")
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


def split_scheme(given: str) -> tuple[str, str]:
    """The scheme in lower case (`file` for a path without scheme), and the path."""
    scheme, is_uri, path = given.partition("://")
    return (scheme.lower(), path) if is_uri else ("file", given)


def check_source_name(given: str) -> None:
    """Check that the name of a source is a kind of name that can be read.

    :param given: local path or pattern, `gs://` URI or URI of another file system
    :raises ConfigurationError: such a source cannot be read; the message does not quote text that may have a password
    """
    scheme, path = split_scheme(given)
    _require_known(scheme)
    if path.count("**") > MAX_DEEP:
        raise ConfigurationError(f"Dataset: found {path.count('**')} times **, expected at most {MAX_DEEP}.")
    if scheme not in OF_THIS_MACHINE:
        _require_no_password(scheme, path)
    if scheme == "gs":
        _require_object(path)


def check_source_template(text: str) -> None:
    """Check the name of a source that may contain templates, as far as it is known before the run.

    :raises ConfigurationError: see `check_source_name`
    """
    mark = template_mark(text)
    if not mark:
        check_source_name(text)
    elif "://" in text.partition(mark)[0]:
        check_source_name(_TEMPLATE.sub("x", text))


def _require_known(scheme: str) -> None:
    """Check that data can be read from a file system.

    :raises ConfigurationError: it cannot; the message does not quote the rest of the URI, which may be secret
    """
    if scheme not in (*OF_THIS_MACHINE, "gs", *_REMOTE):
        known = ", ".join(f"{name}://" for name in ("file", "gs", *sorted(_REMOTE)))
        found = "text that is not quoted, as it may hold a password" if re.search("[:@]", scheme) else plain(scheme, 40)
        raise ConfigurationError(f"Dataset: found {found} before ://, expected a local path or one of {known}.")


def _require_no_password(scheme: str, path: str) -> None:
    """Check that a URI has no password, no query and no second URI.

    :raises ConfigurationError: it has; the message does not quote them
    """
    # For example `s3://x::file:///etc/passwd`: a file system inside another file system.
    if "::" in path and scheme != "gs":
        raise ConfigurationError(f"Dataset: found '::' in a {scheme}:// URI, expected one file or pattern.")
    authority, _, rest = unquote(path).partition("/")
    user, _, host = authority.rpartition("@")
    # A secret key with a slash in it ends before its @.
    is_user = ":" in user or (":" in host and not _HOST_AND_PORT.fullmatch(host)) or (":" in host and "@" in rest)
    if is_user or _QUERY.search(path):
        raise ConfigurationError(
            f"Dataset: found a {scheme}:// URI with a password or key in it, which is not quoted, expected "
            f"{scheme}://CONNECTION_ID@BUCKET/PATH. Put the credentials into an Airflow connection."
        )


def _require_object(path: str) -> None:
    bucket, _, name = path.partition("/")
    if not bucket or not name or WILDCARD.search(bucket):
        missing = "an object" if bucket and not name else "the name of a bucket"
        raise ConfigurationError(f"Dataset: found a gs:// URI without {missing}, expected gs://BUCKET/PATH.")
