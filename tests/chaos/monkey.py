"""Strikes a running stack: kills its processes without warning, makes the emulator misbehave."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from include.local.stack import Stack
from tests.chaos.cloud import Cloud
from tests.chaos.plan import FAULTS, PROCESSES, ZOMBIE, Blow

T = TypeVar("T")


class Monkey:
    """Deals out blows.

    What a killed process leaves behind (a scheduler its workers, a worker its task) lives on until `bury`: that is the
    worst case, a zombie beside the attempt that replaces it.
    """

    def __init__(self, stack: Stack, cloud: Cloud) -> None:
        self.stack = stack
        self.cloud = cloud
        self._orphans: list[psutil.Process] = []

    def strike(self, blow: Blow, is_over: Callable[[], bool]) -> bool:
        """Wait for the moment, then kill or break what the blow names, and mend it.

        :param is_over: whether the run has ended
        :returns: whether the blow hit; False when the run had ended before
        """
        if blow.after and not _until(lambda: self.cloud.calls(blow.after), is_over):
            return False
        time.sleep(blow.wait)
        if blow.name in FAULTS:
            return self._break(blow, is_over)
        victim = _until(lambda: self._victim(blow.name), is_over)
        if victim is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            if blow.name == ZOMBIE:
                self._freeze(blow, victim, is_over)
            else:
                self._kill(blow, victim)
        return True

    def _break(self, blow: Blow, is_over: Callable[[], bool]) -> bool:
        self.cloud.set_faults(FAULTS[blow.name])
        struck = _until(self.cloud.faults_have_struck, is_over)
        if struck:
            time.sleep(blow.lasts)
        self.cloud.clear_faults()
        return bool(struck)

    def _kill(self, blow: Blow, victim: psutil.Process) -> None:
        self._orphans += _children(victim)
        victim.kill()
        if blow.name in PROCESSES:
            time.sleep(blow.lasts)
            self.stack.spawn(blow.name)
            _until(self.cloud.is_up, lambda: False)

    def _freeze(self, blow: Blow, victim: psutil.Process, is_over: Callable[[], bool]) -> None:
        family = [victim, *_children(victim)]
        looked = len(self.cloud.calls("tuningJobs.list"))
        try:
            for member in family:
                member.suspend()
            _until(lambda: len(self.cloud.calls("tuningJobs.list")) > looked, is_over)
            time.sleep(blow.lasts)
        finally:
            for member in family:
                member.resume()

    def _victim(self, name: str) -> psutil.Process | None:
        if name in PROCESSES:
            return self.stack.process(name)
        workers = _children(self.stack.process("scheduler"), depth=1)
        tasks = [(task, worker) for worker in workers for task in _children(worker, depth=1) if _is_running(task)]
        newest = max(tasks, key=lambda pair: pair[0].create_time(), default=(None, None))
        return newest[0] if name == "task" else newest[1]

    def bury(self) -> None:
        """End what killed processes left behind."""
        for orphan in self._orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        self._orphans.clear()


def _is_running(task: psutil.Process) -> bool:
    """Whether Airflow knows that the task has begun: from then on its process bears the task instance's id.

    (On Linux; Airflow sets no process titles on macOS, so that these blows miss there.) A worker that is idle or about
    to begin is spared, because LocalExecutor does not get over its death. An idle one may hold the lock of the queue
    all workers share, which is never released then. The task of one about to begin stays queued for good: Airflow 3.3.2
    frees tasks that are stuck in queued with `revoke_task`, which `LocalExecutor` does not have.
    """
    return bool(re.fullmatch(r"airflow worker -- [0-9a-f-]{36}", " ".join(task.cmdline()).strip()))


def _children(process: psutil.Process | None, depth: int = 0) -> list[psutil.Process]:
    """Those alive: of all generations, or of the first only."""
    with contextlib.suppress(psutil.NoSuchProcess):
        if process:
            children = process.children(recursive=depth != 1)
            return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return []


def _until(what: Callable[[], T], is_over: Callable[[], bool]) -> T | None:
    """What it returns as soon as that is something; None when the run is over first."""
    looked = time.monotonic()
    while not (found := what()):
        if time.monotonic() - looked > 1:
            if is_over():
                return None
            looked = time.monotonic()
        time.sleep(0.03)
    return found
