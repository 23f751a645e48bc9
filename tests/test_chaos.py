"""Chaos: three runs of it, and that its counting finds what it is there to find."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from include.gcp_emulator.tuning.job_run import ENDED as ENDED_STATES
from tests.chaos.cloud import ENDED, Cloud, Job
from tests.chaos.plan import AROUND_CREATION, FAULTS, KILLS, MOMENTS, ZOMBIE, Blow, draw
from tests.chaos.report import Report, Run
from tests.emulator_fixture import running_emulator
from tests.processes import free_port

SEED = 28
BLOW = Blow("task", "tuningJobs.create", 0.0, 1.0)
RUN = Run("run-1", BLOW, hit=True, state="success", seconds=40.0, job="job-1")
JOB = Job("job-1", "identity-1", "JOB_STATE_SUCCEEDED", 2)


@pytest.mark.timeout(480)
def test_three_runs_pass(tmp_path: Path) -> None:
    ports = {"AIRFLOW_PORT": str(free_port()), "EMULATOR_PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--runs", "3", "--seed", str(SEED)],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "COLUMNS": "160", **ports},
        capture_output=True,
        text=True,
        timeout=460,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(cells(line) for line in done.stdout.splitlines() if line.count("│") == 3)
    assert (counts["runs"], counts["pipelines completed"]) == ("3", "3")
    assert int(counts["kills"]) + int(counts["faults injected"]) == 3
    for trouble in ("jobs that trained twice", "jobs left running", "jobs lost"):
        assert counts[trouble] == "0"


def cells(line: str) -> tuple[str, str]:
    _, name, value, _ = (cell.strip() for cell in line.split("│"))
    return name, value


def printed(report: Report) -> str:
    console = Console(file=io.StringIO(), width=160)
    report.print(console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_run_with_its_one_job_passes() -> None:
    report = Report([RUN], [JOB])
    assert report.passed
    assert "Passed" in printed(report)


@pytest.mark.parametrize("state", ["JOB_STATE_SUCCEEDED", "JOB_STATE_CANCELLED", "JOB_STATE_RUNNING"])
def test_a_second_job_that_trained_is_found(state: str) -> None:
    double = Job("job-2", "identity-1", state, 1)
    report = Report([RUN], [JOB, double])
    assert report.trained_twice == [JOB, double]
    assert not report.passed
    assert "trained twice: job-2" in printed(report)


@pytest.mark.parametrize(
    "other",
    [
        Job("job-2", "identity-1", "JOB_STATE_CANCELLED", 0),
        Job("job-2", "identity-1", "JOB_STATE_FAILED", 1),
        Job("job-2", "identity-2", "JOB_STATE_CANCELLED", 1),
    ],
    ids=["cancelled before it trained", "failed, so that a new attempt was right", "of another run"],
)
def test_a_second_job_that_is_no_double_passes(other: Job) -> None:
    assert Report([RUN], [JOB, other]).passed


def test_a_job_that_ran_on_after_its_run_is_found() -> None:
    gone_on = Job("job-2", "identity-1", "JOB_STATE_CANCELLED", 0)
    report = Report([replace(RUN, left_running=frozenset({"job-2"}))], [JOB, gone_on])
    assert report.left_running == [gone_on]
    assert not report.passed
    assert "left running: job-2" in printed(report)


def test_a_job_that_has_not_ended_after_the_last_run_is_found() -> None:
    late = Job("job-2", "identity-1", "JOB_STATE_QUEUED", 0)
    report = Report([RUN], [JOB, late])
    assert report.left_running == [late]
    assert not report.passed


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, state="failed"),
        replace(RUN, state="running"),
        replace(RUN, job=None),
        replace(RUN, job="job-2"),
    ],
    ids=["its run failed", "its run never ended", "its run has no job", "its run ended with another"],
)
def test_a_job_that_succeeded_for_nothing_is_found(run: Run) -> None:
    other = Job("job-2", "identity-2", "JOB_STATE_CANCELLED", 0)
    report = Report([run], [JOB, other])
    assert report.lost == [JOB]
    assert not report.passed
    assert "lost: job-1" in printed(report)
    assert "not completed: run-1" in printed(report)


def test_a_run_whose_job_did_not_succeed_is_not_completed() -> None:
    assert not Report([RUN], [Job("job-1", "identity-1", "JOB_STATE_CANCELLED", 0)]).passed


def test_a_plan_repeats_with_its_seed_and_has_every_kind_in_turn() -> None:
    kinds = {*KILLS, *FAULTS, ZOMBIE}
    blows = draw(3 * len(kinds), seed=1)
    assert blows == draw(len(blows), seed=1) != draw(len(blows), seed=2)
    for start in range(0, len(blows), len(kinds)):
        assert {blow.name for blow in blows[start : start + len(kinds)]} == kinds
    for blow in draw(500, seed=3):
        assert blow.after in ([""] if blow.name in AROUND_CREATION else MOMENTS)
        assert blow.wait >= 0
        assert blow.lasts > 0


def test_the_plan_of_the_three_runs_has_kills_and_a_fault() -> None:
    blows = draw(3, SEED)
    assert {blow.name in KILLS for blow in blows} == {True, False}


@contextmanager
def emulator() -> Iterator[Cloud]:
    with running_emulator() as url:
        cloud = Cloud(url)
        yield cloud
        cloud.close()


def test_every_fault_is_one_the_emulator_takes_and_is_lifted_again() -> None:
    with emulator() as cloud:
        for faults in FAULTS.values():
            cloud.set_faults(faults)
        assert len(cloud._get("/faults")["faults"]) == sum(map(len, FAULTS.values()))
        cloud.clear_faults()
        assert cloud._get("/faults")["faults"] == []


def test_states_that_end_a_job_are_the_emulators() -> None:
    assert ENDED == ENDED_STATES
