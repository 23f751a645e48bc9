"""Shows mistakes in include/tunings as an Airflow DAG import error.

An import error disables all DAGs of its file. This file has no DAGs, so correct tunings keep running from retrain.py
and rollback.py while you correct a wrong tuning. A tuning whose data file is missing keeps running, too.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from vertex_tuning.config.loader import first_mistakes, project_folder
from vertex_tuning.config.local_data import file_mistakes
from vertex_tuning.exceptions import ConfigurationError

mistakes: list[str] = []
for name in ("retrain.py", "rollback.py"):
    mistakes += runpy.run_path(str(Path(__file__).with_name(name)))["mistakes"]
mistakes += file_mistakes(project_folder(__file__))
if mistakes:
    raise ConfigurationError(first_mistakes(list(dict.fromkeys(mistakes))))
