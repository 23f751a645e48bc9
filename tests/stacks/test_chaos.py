"""Chaos: four runs of it, and that its counting finds what it is there to find."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from include.gcp_emulator.tuning.job_run import ENDED as ENDED_STATES
from tests.stacks.chaos.cloud import ENDED, Cloud, Job
from tests.stacks.chaos.metadata import DagRun
from tests.stacks.chaos.plan import AROUND_CREATION, EVERY, FAULTS, MOMENTS, Blow, draw
from tests.stacks.chaos.postgres import is_installed
from tests.stacks.chaos.report import Report, Run
from tests.support.emulator import running_emulator
from tests.support.processes import eventually, free_port, left_running

SEED = 12554
"""Its first four runs have every kind of blow, a stall of a triggerer and a sweep among them."""
BLOW = Blow("kill", "task", "tuningJobs.create", 0.0, 1.0, sweep=False)
CHOSEN = frozenset({"job-1"})
RUN = Run(DagRun("dag", "run-1"), BLOW, hit=True, state="success", seconds=40.0, created=CHOSEN, results=CHOSEN)
JOB = Job("job-1", "identity-1", "JOB_STATE_SUCCEEDED", 2)

needs_postgres = pytest.mark.skipif(
    not is_installed(), reason="Airflow's database is PostgreSQL here: apt-get install postgresql"
)


def command(runs: int) -> list[str]:
    return [sys.executable, "-m", "tests.stacks.chaos", "--runs", str(runs), "--seed", str(SEED)]


def environment(home: Path) -> Mapping[str, str]:
    ports = {"AIRFLOW_PORT": str(free_port()), "EMULATOR_PORT": str(free_port())}
    return {**os.environ, "AIRFLOW_HOME": str(home), "COLUMNS": "160", **ports}


@needs_postgres
@pytest.mark.timeout(900)
def test_four_runs_pass(tmp_path: Path) -> None:
    done = subprocess.run(
        command(runs=4), env=environment(tmp_path), capture_output=True, text=True, timeout=880, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(cells(line) for line in done.stdout.splitlines() if line.count("│") == 3)
    assert (counts["runs"], counts["pipelines completed"]) == ("4", "4")
    assert sum(int(counts[kind]) for kind in ("kills", "stalls", "faults injected", "neighbours")) == 4
    for trouble in ("trained twice", "left running", "lost", "cancelled without a person's act"):
        assert counts[f"jobs {trouble}"] == "0"
    assert left_running(tmp_path / "chaos") == []


def another_job(name: str, state: str) -> Job:
    return Job(name, f"identity of {name}", state, 2)


def cells(line: str) -> tuple[str, str]:
    _, name, value, _ = (cell.strip() for cell in line.split("│"))
    return name, value


def test_the_plan_of_the_four_runs_has_what_ci_is_to_see() -> None:
    blows = draw(4, SEED)
    assert {blow.kind for blow in blows} == set(EVERY)
    assert "stall triggerer" in {blow.title for blow in blows}
    assert {blow.sweep for blow in blows} == {True, False}


@needs_postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "scheduler.log"), (signal.SIGTERM, "dag_id=*/**/attempt=1.log")],
    ids=["Ctrl-C during the start", "SIGTERM during a run"],
)
def test_nothing_is_left_running_when_it_is_stopped(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    home = tmp_path / "chaos"
    with subprocess.Popen(
        command(runs=4),
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as chaos:
        eventually(lambda: any((home / "logs").glob(moment)))
        assert left_running(home)
        chaos.send_signal(number)
        assert chaos.wait(60) != 0
    assert left_running(home) == []


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
    ],
    ids=["cancelled before it trained", "failed, so that a new attempt was right"],
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
        replace(RUN, results=frozenset()),
        replace(RUN, results=frozenset({"job-2"})),
    ],
    ids=["its run failed", "its run never ended", "its run has no job", "its run ended with another"],
)
def test_a_job_that_succeeded_for_nothing_is_found(run: Run) -> None:
    other = Job("job-2", "identity-2", "JOB_STATE_FAILED", 0)
    report = Report([run], [JOB, other])
    assert report.lost == [JOB]
    assert not report.passed
    assert "lost: job-1" in printed(report)
    assert "not completed: run-1" in printed(report)


def test_a_candidate_whose_wait_returned_is_not_lost_when_another_fails() -> None:
    sweep = replace(RUN, state="failed", blow=replace(BLOW, sweep=True))
    report = Report([sweep], [JOB, Job("job-2", "identity-2", "JOB_STATE_FAILED", 0)])
    assert report.lost == []
    assert not report.passed


def test_a_sweep_is_completed_only_with_all_its_jobs() -> None:
    sweep = replace(RUN, results=frozenset({"job-1", "job-2"}), blow=replace(BLOW, sweep=True))
    assert Report([sweep], [JOB, another_job("job-2", "JOB_STATE_SUCCEEDED")]).completed == [sweep]
    assert Report([sweep], [JOB, another_job("job-2", "JOB_STATE_FAILED")]).completed == []


def test_a_run_whose_job_did_not_succeed_is_not_completed() -> None:
    assert not Report([RUN], [Job("job-1", "identity-1", "JOB_STATE_FAILED", 1)]).passed


@pytest.mark.parametrize("state", ["JOB_STATE_CANCELLED", "JOB_STATE_CANCELLING"])
@pytest.mark.parametrize(
    ("run", "jobs"),
    [
        (RUN, [Job("job-1", "identity-1", "", 0)]),
        (replace(RUN, created=frozenset(), results=frozenset()), [Job("job-1", "identity-1", "", 0)]),
        (replace(RUN, results=frozenset({"job-2"})), [Job("job-1", "identity-1", "", 0), another_job("job-2", "")]),
        (
            replace(RUN, created=frozenset({"job-2"}), results=frozenset({"job-2"})),
            [Job("job-1", "identity-1", "", 1), Job("job-2", "identity-1", "JOB_STATE_SUCCEEDED", 2)],
        ),
        (
            replace(RUN, results=frozenset({"job-2"})),
            [Job("job-1", "identity-1", "", 0), Job("job-2", "identity-1", "JOB_STATE_SUCCEEDED", 2)],
        ),
    ],
    ids=["the run's job", "a job nobody learned of", "beside a foreign one", "a twin that trained", "later replaced"],
)
def test_a_job_that_was_cancelled_although_nobody_acted_is_found(run: Run, jobs: list[Job], state: str) -> None:
    cancelled, *others = [Job(job.name, job.identity, job.state or state, job.epochs) for job in jobs]
    report = Report([run], [cancelled, *others])
    assert cancelled in report.cancelled
    assert not report.passed
    assert "cancelled without a person's act: job-1" in printed(report)


def test_a_job_whose_run_was_given_up_was_cancelled_by_an_act() -> None:
    run = replace(RUN, state="running", results=frozenset(), given_up=CHOSEN)
    assert Report([run], [Job("job-1", "identity-1", "JOB_STATE_CANCELLED", 1)]).cancelled == []


def test_a_plan_repeats_with_its_seed_and_has_every_kind_in_turn() -> None:
    kinds = {(kind, name) for kind, names in EVERY.items() for name in names}
    blows = draw(3 * len(kinds), seed=1)
    assert blows == draw(len(blows), seed=1) != draw(len(blows), seed=2)
    for start in range(0, len(blows), len(kinds)):
        assert {(blow.kind, blow.name) for blow in blows[start : start + len(kinds)]} == kinds


def test_blows_come_at_moments_their_run_has() -> None:
    blows = draw(500, seed=3)
    assert {blow.sweep for blow in blows} == {True, False}
    for blow in blows:
        assert blow.after in ([""] if blow.name in AROUND_CREATION else MOMENTS)
        assert blow.wait >= 0
        assert blow.lasts > 0


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
