"""Strikes a running stack: kills and stalls its processes, makes the emulator or a neighbour misbehave."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import psutil

from include.local.airflow_api import ENDED
from include.local.stack import Stack
from tests.stacks.chaos.airflow import CREATE, ChaosApi
from tests.stacks.chaos.chaos_stack import TRIGGERERS
from tests.stacks.chaos.cloud import Cloud
from tests.stacks.chaos.metadata import DagRun, Holder, Metadata
from tests.stacks.chaos.plan import BLOCK, FAULTS, HANDED_OVER, NEIGHBOURS, PROCESSES, Blow

T = TypeVar("T")

REPLACED_SECONDS: Final = 60
"""Longest wait for something to take over from what stands still."""
LET_GO_SECONDS: Final = 45
"""Longest wait for a triggerer to end a trigger that it has lost; Airflow gives the trigger's `on_kill` 30 of them."""
HURRY_SECONDS: Final = 12
"""From the deferral of a neighbour that polls without pause to its polling, and enough of that."""


class Monkey:
    """Deals out blows.

    What a killed process leaves behind (a scheduler its workers, a worker its task) lives on until `bury`: that is the
    worst case, a zombie beside the attempt that replaces it.
    """

    def __init__(self, stack: Stack, cloud: Cloud, api: ChaosApi, metadata: Metadata) -> None:
        self.stack = stack
        self.cloud = cloud
        self.api = api
        self.metadata = metadata
        self._orphans: list[psutil.Process] = []
        self._neighbours: list[DagRun] = []

    def strike(self, blow: Blow, run: DagRun, is_over: Callable[[], bool]) -> bool:
        """Wait for the moment, then do what the blow names, and mend it.

        :param run: the run it is meant for
        :param is_over: whether that run has ended
        :returns: whether the blow hit; False when the run had ended before
        """
        if blow.after and not _until(lambda: self.cloud.calls(blow.after), is_over):
            return False
        time.sleep(blow.wait)
        deal = {"kill": self._kill, "stall": self._stall, "fault": self._break, "neighbour": self._disturb}[blow.kind]
        return deal(blow, run, is_over)

    # Faults of the emulator

    def _break(self, blow: Blow, _: DagRun, is_over: Callable[[], bool]) -> bool:
        self.cloud.set_faults(FAULTS[blow.name])
        struck = _until(self.cloud.faults_have_struck, is_over)
        if struck:
            time.sleep(blow.lasts)
        self.cloud.clear_faults()
        return bool(struck)

    # Kills

    def _kill(self, blow: Blow, run: DagRun, is_over: Callable[[], bool]) -> bool:
        name = self._process_name(blow.name, run)
        victim = _until(lambda: self._process(name), is_over)
        if victim is None:
            return False
        self._orphans += _children(victim)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        if blow.name in PROCESSES:
            time.sleep(blow.lasts)
            self.stack.spawn(name)
            _until(self.cloud.is_up, lambda: False)
        return True

    def _process_name(self, name: str, run: DagRun) -> str:
        """The process of the stack: of the triggerers the one that waits for the run's job, if one does."""
        if name != "triggerer":
            return name
        holder = self.metadata.holder(run)
        return holder.process if holder else TRIGGERERS[0]

    def _process(self, name: str) -> psutil.Process | None:
        if name not in ("worker", "task"):
            return self.stack.process(name)
        workers = _children(self.stack.process("scheduler"), depth=1)
        tasks = [(task, worker) for worker in workers for task in _children(worker, depth=1) if _attempt_of(task)]
        newest = max(tasks, key=lambda pair: pair[0].create_time(), default=(None, None))
        return newest[0] if name == "task" else newest[1]

    def bury(self) -> None:
        """End what killed processes have left behind, and neighbours that go on."""
        for orphan in self._orphans:
            for member in (orphan, *_children(orphan)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
        self._orphans.clear()
        for neighbour in self._neighbours:
            if self.api.state(neighbour.dag_id, neighbour.run_id) not in ENDED:
                self.api.fail(neighbour)
        self._neighbours.clear()

    # Stalls

    def _stall(self, blow: Blow, run: DagRun, is_over: Callable[[], bool]) -> bool:
        if blow.name in HANDED_OVER:
            return self._stall_triggerer(blow, run, is_over)
        victim = _until(lambda: self._process(blow.name), is_over)
        if victim is None:
            return False
        family = [victim, *_children(victim)]
        attempts = [attempt for member in family if (attempt := _attempt_of(member))] if blow.name == "worker" else []
        with _stalled(family):
            _until(lambda: all(map(self.metadata.is_replaced, attempts)), is_over, REPLACED_SECONDS)
            time.sleep(blow.lasts)
        return True

    def _stall_triggerer(self, blow: Blow, run: DagRun, is_over: Callable[[], bool]) -> bool:
        """
        :returns: whether the other triggerer took over
        """
        holder = self._start_training(run, is_over)
        if holder is None:
            return False
        with _stalled(self._parts(blow.name, holder.process)):
            taken_over = self._wait_for_handover(blow, run, holder, is_over)
        self._wait_until_let_go(run, holder, is_over)
        return taken_over

    def _start_training(self, run: DagRun, is_over: Callable[[], bool]) -> Holder | None:
        """Let the held jobs of a run train as soon as they are waited for.

        :returns: the triggerer that waits
        """
        holder = _until(lambda: self.metadata.holder(run), is_over)
        self.cloud.advance()
        self.cloud.advance()
        return holder

    def _parts(self, name: str, triggerer: str) -> list[psutil.Process]:
        if name == "database":
            return [psutil.Process(pid) for pid in self.metadata.servers_of(triggerer)]
        process = self.stack.process(triggerer)
        return [*([process] if process and name == "triggerer" else []), *_children(process)]

    def _wait_for_handover(self, blow: Blow, run: DagRun, holder: Holder, is_over: Callable[[], bool]) -> bool:
        taken_over = _until(lambda: self.metadata.holder(run) != holder, is_over, REPLACED_SECONDS)
        time.sleep(blow.lasts)
        return bool(taken_over)

    def _wait_until_let_go(self, run: DagRun, holder: Holder, is_over: Callable[[], bool]) -> None:
        """Wait until a triggerer that goes on has ended the run's triggers, with whatever that does to the jobs."""
        folder = self.stack.logs / f"dag_id={run.dag_id}" / f"run_id={run.run_id}"

        def has_let_go() -> bool:
            logs = list(folder.rglob(f"*.trigger.{holder.job}.log"))
            return bool(logs) and all("trigger completed" in log.read_text(errors="replace") for log in logs)

        _until(has_let_go, is_over, LET_GO_SECONDS)

    # Neighbours

    def _disturb(self, blow: Blow, run: DagRun, is_over: Callable[[], bool]) -> bool:
        holder = self._start_training(run, is_over)
        if holder is None:
            return False
        kind, conf = NEIGHBOURS[blow.name]
        if kind == BLOCK:
            return self._block(blow, run, holder, is_over)
        [job, *_] = self.api.job_names(run, CREATE)
        neighbour = self._start_neighbour(kind, holder, {**conf, "job_name": job})
        has_begun = _until(lambda: self.api.has_begun_to_wait(neighbour), is_over)
        time.sleep(HURRY_SECONDS)
        return bool(has_begun)

    def _block(self, blow: Blow, run: DagRun, holder: Holder, is_over: Callable[[], bool]) -> bool:
        flag = self.stack.home / "block"
        flag.touch()
        try:
            self._start_neighbour(BLOCK, holder, {"flag": str(flag)})
            taken_over = self._wait_for_handover(blow, run, holder, is_over)
        finally:
            flag.unlink()
        self._wait_until_let_go(run, holder, is_over)
        return taken_over

    def _start_neighbour(self, kind: str, holder: Holder, conf: dict[str, object]) -> DagRun:
        self._neighbours.append(neighbour := self.api.start(f"{kind}_{holder.process}", conf))
        return neighbour


@contextlib.contextmanager
def _stalled(processes: Sequence[psutil.Process]) -> Iterator[None]:
    """Stop processes for the length of a block; those that end meanwhile are left out."""
    try:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def _attempt_of(task: psutil.Process) -> str:
    """The task instance's id, when Airflow knows that the task has begun: from then on its process bears it.

    (On Linux; Airflow sets no process titles on macOS, so that these blows miss there.) A worker that is idle or about
    to begin is spared, because LocalExecutor does not get over its death. An idle one may hold the lock of the queue
    all workers share, which is never released then. The task of one about to begin stays queued for good: Airflow 3.3.2
    frees tasks that are stuck in queued with `revoke_task`, which `LocalExecutor` does not have.
    """
    title = re.fullmatch(r"airflow worker -- ([0-9a-f-]{36})", " ".join(task.cmdline()).strip())
    return title[1] if title else ""


def _children(process: psutil.Process | None, depth: int = 0) -> list[psutil.Process]:
    """Those alive: of all generations, or of the first only."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process:
            children = process.children(recursive=depth != 1)
            return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return []


def _until(what: Callable[[], T], is_over: Callable[[], bool], seconds: float = float("inf")) -> T | None:
    """What it returns as soon as that is something; None when the run or the time is over first."""
    started = looked = time.monotonic()
    while not (found := what()):
        if time.monotonic() - looked > 1:
            if is_over() or time.monotonic() - started > seconds:
                return None
            looked = time.monotonic()
        time.sleep(0.03)
    return found
