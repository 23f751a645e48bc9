"""Which Airflow installation this is, so that two in one Google project leave each other's jobs and models alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Final

from airflow.sdk import conf

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL

_FORM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def deployment_id() -> str:
    """The id of this Airflow installation: `[vertex_tuning] deployment`, or else a digest of the Fernet key.

    All components of an installation share a Fernet key that its environment sets, and it survives restarts, new hosts
    and upgrades. One that Airflow wrote into a new `airflow.cfg` does not count: each host would write another. While a
    key is rotated, `fernet_key` holds the new and the old one; the old one counts until it is removed.

    :raises ConfigurationError: when the option has another form than a label, or neither is set
    """
    option = conf.get("vertex_tuning", "deployment", fallback="").strip()
    if option:
        return check_deployment(option)
    set_by_environment = any(f"AIRFLOW__CORE__FERNET_KEY{form}" in os.environ for form in ("", "_CMD", "_SECRET"))
    key = conf.get("core", "fernet_key", fallback="").split(",")[-1].strip() if set_by_environment else ""
    if not key:
        raise ConfigurationError(
            "[vertex_tuning] deployment: not set, and no Fernet key is set by the environment. Set it, for all "
            "components, to a name that no other Airflow installation uses in the same Google project, e.g. "
            "AIRFLOW__VERTEX_TUNING__DEPLOYMENT=production."
        )
    return hashlib.sha256(f"vertex_tuning deployment {key}".encode()).hexdigest()[:12]


def check_deployment(option: str) -> str:
    """Return an id that can be a label's value.

    :raises ConfigurationError: when it cannot
    """
    if not _FORM.fullmatch(option):
        raise ConfigurationError(
            f"[vertex_tuning] deployment: found {option!r}, expected 1 to 40 lower-case letters, digits, _ and -, "
            "beginning with a letter or digit."
        )
    return option


def require_own(name: str, labels: Mapping[str, str], field: str) -> None:
    """Refuse a model that another Airflow installation made.

    :param name: of the model's version
    :param labels: of the version
    :param field: the argument that named it, for the error
    :raises ConfigurationError: another installation made it
    """
    own = deployment_id()
    if (other := labels.get(DEPLOYMENT_LABEL, own)) != own:
        raise ConfigurationError(
            f"{field}: {name} was made by the Airflow installation {other!r}, and this is {own!r}. Its models are that "
            "installation's to tune further and to promote. ([vertex_tuning] deployment sets the name.)"
        )
