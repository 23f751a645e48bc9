"""Strikes a running stack: kills its processes without warning, makes the emulator misbehave."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from include.local.stack import Stack
from tests.chaos.cloud import Cloud
from tests.chaos.plan import FAULTS, PROCESSES, Blow

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
        return self._break(blow, is_over) if blow.name in FAULTS else self._kill(blow, is_over)

    def _break(self, blow: Blow, is_over: Callable[[], bool]) -> bool:
        self.cloud.set_faults(FAULTS[blow.name])
        struck = _until(self.cloud.faults_have_struck, is_over)
        if struck:
            time.sleep(blow.lasts)
        self.cloud.clear_faults()
        return bool(struck)

    def _kill(self, blow: Blow, is_over: Callable[[], bool]) -> bool:
        victim = _until(lambda: self._victim(blow.name), is_over)
        if victim is None:
            return False
        self._orphans += _children(victim)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        if blow.name in PROCESSES:
            time.sleep(blow.lasts)
            self.stack.spawn(blow.name)
            _until(self.cloud.is_up, lambda: False)
        return True

    def _victim(self, name: str) -> psutil.Process | None:
        if name in PROCESSES:
            return self.stack.process(name)
        scheduler = self.stack.process("scheduler")
        # A worker that has a child is at work. Idle ones are spared: one of them holds the lock of the queue they
        # share, which dies with it, and LocalExecutor never starts another task.
        busy = [(worker, task) for worker in _children(scheduler, depth=1) for task in _children(worker, depth=1)]
        return (busy[0][0] if name == "worker" else busy[0][1]) if busy else None

    def bury(self) -> None:
        """End what killed processes left behind."""
        for orphan in self._orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        self._orphans.clear()


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
