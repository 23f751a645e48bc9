"""What `make bench-triggerer` measures of our trigger, small: many waiters cost no more calls than one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from include.local.stack import PROJECT_DIR

pytestmark = [pytest.mark.timeout(240)]

SENSORS, INTERVAL = 50, 3


def test_fifty_waiters_make_no_more_calls_than_one_and_all_get_their_event(tmp_path: Path) -> None:
    found = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.stacks.bench_triggerer", "--only", "ours", "--json", str(found)]
    command += ["--sensors", str(SENSORS), "--interval", str(INTERVAL)]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            output, _ = process.communicate(timeout=200)
        finally:
            process.terminate()
    assert process.returncode == 0, output.decode()
    (result,) = json.loads(found.read_text())
    assert result["waiters"] == result["events"] == SENSORS
    # One waiter alone looks 60 / 3 = 20 times a minute; the window of 12 s may see one look more than its share.
    assert result["calls_per_minute"] <= 60 / INTERVAL + 5
