"""Id of this Airflow installation. It keeps the jobs and models of two installations in one Google project apart."""

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
    """The id of this Airflow installation: `[vertex_tuning] deployment`, or a digest of the Fernet key.

    If the environment sets the Fernet key, all components of the installation share it. It also survives restarts, new
    hosts and upgrades. A key that Airflow wrote into a new `airflow.cfg` is ignored: each host would write a different
    key. During a rotation `fernet_key` holds the new key, then the old key. The old key counts until it is removed.

    :raises ConfigurationError: the option does not have the form of a label, or neither is set
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
    """Return the id of an installation if it can be the value of a label.

    :param option: value of `[vertex_tuning] deployment`
    :raises ConfigurationError: the id has another form than 1 to 40 lower-case letters, digits, `_` and `-`
    """
    if not _FORM.fullmatch(option):
        raise ConfigurationError(
            f"[vertex_tuning] deployment: found {option!r}, expected 1 to 40 lower-case letters, digits, _ and -, "
            "beginning with a letter or digit."
        )
    return option


def require_own(name: str, labels: Mapping[str, str], field: str) -> None:
    """Refuse a model that another Airflow installation made.

    :param name: resource name of the model's version
    :param labels: labels of the model's version
    :param field: argument that names the model, for the error message
    :raises ConfigurationError: the label of the model names another installation
    """
    own = deployment_id()
    if (other := labels.get(DEPLOYMENT_LABEL, own)) != own:
        raise ConfigurationError(
            f"{field}: {name} was made by the Airflow installation {other!r}, and this is {own!r}. Only that "
            "installation may tune the model further or promote it. ([vertex_tuning] deployment sets the name.)"
        )
