"""Shows mistakes in include/tunings as an Airflow DAG import error.

In a file of its own, because an import error takes all DAGs of its file with it: the tunings that are right keep
running from retrain.py and rollback.py while a wrong one is put right. So does a tuning whose data is not there yet.
"""

from __future__ import annotations

import runpy
from pathlib import Path

from vertex_tuning.config.loader import first_mistakes, project_folder
from vertex_tuning.config.local_data import file_mistakes
from vertex_tuning.exceptions import ConfigurationError

found: list[str] = []
for name in ("retrain.py", "rollback.py"):
    found += runpy.run_path(str(Path(__file__).with_name(name)))["mistakes"]
found += file_mistakes(project_folder(__file__))
if found:
    raise ConfigurationError(first_mistakes(list(dict.fromkeys(found))))
