"""What the plugin costs the processes that do not show the page."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import PROJECT_DIR

ADDED = """
import json, sys
import airflow.plugins_manager
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("module", ["vertex_tuning_plugin", "vertex_tuning.ui.airflow_plugin"])
def test_a_process_that_imports_the_plugin_loads_nothing_else(module: str) -> None:
    """Every scheduler, triggerer and task does: from the folder the first module, from the wheel the second."""
    code = ADDED.format(module=module)
    folder = PROJECT_DIR / "plugins"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    added = json.loads(done.stdout.splitlines()[-1])
    package = {"vertex_tuning", *(f"vertex_tuning.ui{name}" for name in ("", ".addresses", ".airflow_plugin"))}
    assert set(added) - {"vertex_tuning_plugin"} == package
