"""Which Airflow installation this is, so that two in one Google project leave each other's jobs and models alone."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from airflow.sdk import conf

from vertex_tuning.exceptions import ConfigurationError

_FORM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def deployment_id() -> str:
    """The id of this Airflow installation: `[vertex_tuning] deployment`, or else a digest of the Fernet key.

    All components of an installation share the Fernet key, and it survives restarts, new hosts and upgrades. While a
    key is rotated, `fernet_key` holds the new and the old one; the old one counts until it is removed.

    :raises ConfigurationError: when the option has another form than a label, or neither is set
    """
    option = conf.get("vertex_tuning", "deployment", fallback="").strip()
    if option:
        if not _FORM.fullmatch(option):
            raise ConfigurationError(
                f"[vertex_tuning] deployment: found {option!r}, expected 1 to 40 lower-case letters, digits, _ and -, "
                "beginning with a letter or digit."
            )
        return option
    key = conf.get("core", "fernet_key", fallback="").split(",")[-1].strip()
    # Airflow's own default, a placeholder, stands where no component has written a key yet.
    if key in ("", "{FERNET_KEY}"):
        raise ConfigurationError(
            "[vertex_tuning] deployment: not set, and [core] fernet_key is empty. Set it to a name that no other "
            "Airflow installation uses in the same Google project, e.g. AIRFLOW__VERTEX_TUNING__DEPLOYMENT=production."
        )
    return hashlib.sha256(f"vertex_tuning deployment {key}".encode()).hexdigest()[:12]
