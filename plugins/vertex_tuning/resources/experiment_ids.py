"""Ids of the experiment of a tuning in Vertex AI Experiments, and of its runs. Pure.

The service allows a-z, 0-9 and `-`, 4 to 128 characters for an id, and forms the id of a run's resource from both ids.
Names of tunings have `_` and never `-`, so that the id of the experiment says which tuning it is.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from vertex_tuning.exceptions import ConfigurationError

PREFIX: Final = "airflow-"
"""Keeps experiments of tunings apart from `tuning-experiment-…`, those of the jobs."""

_TUNING: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def experiment_id(tuning: str) -> str:
    """The id of the experiment of a tuning: `airflow-support-triage` for `support_triage`.

    :raises ConfigurationError: this is not the name of a tuning
    """
    if not _TUNING.fullmatch(tuning):
        raise ConfigurationError(f"tuning: found {tuning[:100]!r}, expected a letter, then letters, digits and _.")
    return PREFIX + tuning.replace("_", "-")


def experiment_run_id(deployment: str, run: str) -> str:
    """The id of a run in the experiment, the same for all attempts of its tasks.

    :param deployment: id of the Airflow installation: two installations can have runs with the same id
    :param run: key of the run, see :func:`~vertex_tuning.datasets.manifest.run_key`
    """
    return f"run-{hashlib.sha256(f'{deployment} {run}'.encode()).hexdigest()[:16]}"
