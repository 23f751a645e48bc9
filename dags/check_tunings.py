"""Shows mistakes in include/tunings as an Airflow DAG import error.

In a file of its own, because an import error takes all DAGs of its file with it: the tunings that are right keep
running from retrain.py while a wrong one is put right.
"""

from __future__ import annotations

from pathlib import Path

from vertex_tuning.config import load_tunings
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.tuning_folders import tuning_folders

PROJECT = Path(__file__).resolve().parent.parent

mistakes = [mistake for folder in tuning_folders(PROJECT) for mistake in load_tunings(folder)[1]]
if mistakes:
    raise ConfigurationError("\n".join(mistakes))
