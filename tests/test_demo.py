"""`make demo` as a person starts it: a real Airflow, one run, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from include.local.stack import CLOUD_PROJECT
from tests.emulator_fixture import running_emulator
from tests.processes import eventually, free_port, left_running

BANKING77 = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "banking77"

pytestmark = [pytest.mark.timeout(600)]


@contextmanager
def demo(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process, in an installation and on ports of its own."""
    ports = {"AIRFLOW_PORT": str(free_port()), "EMULATOR_PORT": str(free_port())}
    process = subprocess.Popen(
        [sys.executable, "-m", "include.local", "demo", *arguments],
        env={**os.environ, "AIRFLOW_HOME": str(home), "COLUMNS": "160", **ports},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and so would the demo.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        for process_left in left_running(home):
            process_left.kill()


def test_own_data_is_learnt_and_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not BANKING77.is_dir():
        pytest.skip("shared/data/banking77 does not lie beside the project")
    data = ["--dataset", str(BANKING77 / "train.jsonl"), "--validation", str(BANKING77 / "validation.jsonl")]
    with demo(tmp_path, *data) as process:
        output, _ = process.communicate(timeout=400)
        assert process.returncode == 0, output
        assert left_running(tmp_path) == []
    [accuracy] = [line for line in output.splitlines() if "/eval_fraction_of_correct_next_step_preds" in line]
    last = float(accuracy.split("│")[3])
    assert last >= 0.9
    endpoint, *_ = [line.split("│")[2].strip() for line in output.splitlines() if line.startswith("│ endpoint")]
    right = right_answers(tmp_path / "google-cloud", endpoint, 500, monkeypatch)
    print(f"validation token accuracy {last:.3f}, {right} of 500 test rows answered exactly")
    assert right >= 400


def right_answers(data_dir: Path, endpoint: str, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many of the first rows of banking77's test set the tuned endpoint answers exactly."""
    import msgspec
    from vertex_tuning.asking import ask_all
    from vertex_tuning.datasets.dataset import Row
    from vertex_tuning.hooks.tuning import VertexTuningHook
    from vertex_tuning.smoke import sample_cases

    from tests.vertex_tuning.conftest import connection

    with running_emulator(data_dir) as url, (BANKING77 / "test.jsonl").open("rb") as file:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url, project=CLOUD_PROJECT))
        hook = VertexTuningHook(location="us-central1")
        rows = (msgspec.json.decode(line, type=Row) for line, _ in zip(file, range(count), strict=False))
        answers = ask_all(hook, endpoint, sample_cases(rows), deadline=time.time() + 120)
    return sum(not answer.problem for answer in answers)


def test_a_failing_run_ends_with_the_error_its_log_and_exit_code_1(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"contents": []}\n')
    with demo(tmp_path / "home", "--dataset", str(bad)) as process:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 1
        assert left_running(tmp_path / "home") == []
    assert "upload_dataset failed:" in output
    assert "bad.jsonl, line 1: contents: found an empty list" in output
    log = Path(output.partition("Its log: ")[2].splitlines()[0])
    assert "contents: found an empty list" in log.read_text()


def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        eventually(lambda: len(left_running(tmp_path)) >= 5)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    # A shell says 130 for both: Python ends itself by the signal when it struck in code made from a string.
    assert process.returncode in (130, -signal.SIGINT), output
    assert "Stopped." in output
    assert left_running(tmp_path) == []


@pytest.mark.parametrize("variable", ["AIRFLOW_PORT", "EMULATOR_PORT"])
def test_a_taken_port_is_named_with_the_variable_that_changes_it(tmp_path: Path, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path), variable: port}
        command = [sys.executable, "-m", "include.local", "demo"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"Port {port} is taken" in done.stdout
    assert f"{variable}=" in done.stdout
