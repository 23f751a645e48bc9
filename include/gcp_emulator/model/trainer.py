"""Training in one subprocess of the server, which trains all jobs in turn, on one core and at low priority.

`python -m include.gcp_emulator.model.trainer` is that subprocess. It reads commands and writes events as lines of JSON.
It ends as soon as its standard input closes, so it never outlives the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .dataset import DatasetError
from .training import (
    Checkpoint,
    Done,
    Evaluation,
    Event,
    Failed,
    Step,
    TrainingError,
    TrainRequest,
    train,
)

__all__ = ["Checkpoint", "Done", "Evaluation", "Event", "Failed", "Step", "TrainRequest", "Trainer"]

log = logging.getLogger(__name__)

Listener = Callable[[Event], None]

_ROOT = Path(__file__).resolve().parents[__spec__.name.count(".")]
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_EVENTS = {kind.__name__: kind for kind in (Step, Evaluation, Checkpoint, Done, Failed)}
_PATHS = ("training", "validation", "base_weights", "output_dir", "weights")
_LONGEST_MESSAGE = 2000
_SECONDS_TO_END = 5.0
_SECONDS_BEFORE_RESTART = 1.0


def _with_paths(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: Path(v) if k in _PATHS and v is not None else v for k, v in fields.items()}


class Trainer:
    """The server's side: hands jobs to the subprocess and its events to their listeners.

    Call all methods in the thread of the event loop that awaited :meth:`start`.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._follower: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        # A job may be cancelled and submitted again; a number distinguishes its runs.
        self._runs: dict[int, tuple[TrainRequest, Listener]] = {}

    async def start(self) -> None:
        """Start the subprocess and the jobs submitted so far."""
        await self._spawn()
        self._follower = asyncio.create_task(self._follow(), name="trainer events")

    async def stop(self) -> None:
        """End the subprocess and all training. No events follow."""
        self._runs.clear()
        follower, process = self._follower, self._process
        self._follower = self._process = None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _SECONDS_TO_END)
            except TimeoutError:
                process.kill()
                await process.wait()
        if follower is not None:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower

    def submit(self, request: TrainRequest, listener: Listener) -> None:
        """Train a job. A running job of the same name is stopped.

        :param listener: called with each event in order, on the event loop; the last is Done or Failed
        """
        self.cancel(request.job)
        number = next(self._numbers)
        self._runs[number] = (request, listener)
        self._submit(number)

    def cancel(self, job: str) -> None:
        """Stop training a job, if it is being trained. No events for it follow."""
        for number in [number for number, (request, _) in self._runs.items() if request.job == job]:
            del self._runs[number]
            self._send({"cancel": number})

    def _submit(self, number: int) -> None:
        fields = asdict(self._runs[number][0])
        whole = {key: value.absolute() if isinstance(value, Path) else value for key, value in fields.items()}
        self._send({"train": number, "request": whole})

    def _send(self, command: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(json.dumps(command, default=str).encode() + b"\n")

    async def _spawn(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __spec__.name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env=os.environ | _ONE_THREAD,
        )
        for number in self._runs:
            self._submit(number)

    async def _follow(self) -> None:
        """Deliver events. If the subprocess ends by itself, its jobs have failed, and a new subprocess starts."""
        while (process := self._process) is not None and process.stdout is not None:
            async for line in process.stdout:
                if line.endswith(b"\n"):  # a killed process may leave half a line
                    self._deliver(json.loads(line))
            code = await process.wait()
            self._process = None
            for number, (request, _) in list(self._runs.items()):
                self._hand_over(number, Failed(request.job, f"The training process ended with exit code {code}."))
            await asyncio.sleep(_SECONDS_BEFORE_RESTART)
            await self._spawn()

    def _deliver(self, message: dict[str, Any]) -> None:
        event: Event = _EVENTS[message["type"]](**_with_paths(message["event"]))
        self._hand_over(message["run"], event)

    def _hand_over(self, number: int, event: Event) -> None:
        run = self._runs.get(number)
        if run is None:
            return
        if isinstance(event, Done | Failed):
            del self._runs[number]
        try:
            run[1](event)
        except Exception:
            log.exception("The listener of %s failed on %s", event.job, type(event).__name__)


@dataclass
class _Job:
    """A job in the subprocess.

    :param due: when it may go on, by the monotonic clock
    """

    request: TrainRequest
    events: Iterator[Event | None]
    due: float = 0.0


class _Worker:
    """The subprocess's side: trains its jobs in turn, a step at a time.

    :param commands: the commands of :meth:`Trainer._send`
    :param output: file for the events
    """

    def __init__(self, commands: queue.SimpleQueue[dict[str, Any]], output: BinaryIO) -> None:
        self._commands, self._output = commands, output
        self._jobs: dict[int, _Job] = {}

    def run(self) -> None:
        """Work until the process ends."""
        while True:
            self._obey()
            for number, job in list(self._jobs.items()):
                if job.due <= time.monotonic():
                    self._advance(number, job)

    def _obey(self) -> None:
        """Read the waiting commands; if no job is due, wait for a command."""
        wait = min((job.due for job in self._jobs.values()), default=float("inf")) - time.monotonic()
        with contextlib.suppress(queue.Empty):
            command = self._commands.get(timeout=None if wait == float("inf") else max(wait, 0.0))
            while True:
                self._execute(command)
                command = self._commands.get_nowait()

    def _execute(self, command: dict[str, Any]) -> None:
        if "cancel" in command:
            self._jobs.pop(command["cancel"], None)
        else:
            request = TrainRequest(**_with_paths(command["request"]))
            self._jobs[command["train"]] = _Job(request, train(request))

    def _advance(self, number: int, job: _Job) -> None:
        started = time.monotonic()
        event = self._next(job)
        if isinstance(event, Step):
            job.due = started + job.request.step_seconds
        elif isinstance(event, Done | Failed):
            del self._jobs[number]
        if event is not None:
            message = {"run": number, "type": type(event).__name__, "event": asdict(event)}
            self._output.write(json.dumps(message, default=str).encode() + b"\n")
            self._output.flush()

    @staticmethod
    def _next(job: _Job) -> Event | None:
        try:
            return next(job.events)
        except (DatasetError, TrainingError, OSError) as error:
            return Failed(job.request.job, str(error)[:_LONGEST_MESSAGE])
        except Exception as error:
            log.exception("Training %s failed", job.request.job)
            return Failed(job.request.job, f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE])


def _listen(commands: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin.buffer:
        commands.put(json.loads(line))
    os._exit(0)  # the server has ended: end at once


def main() -> None:
    """Run the subprocess."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the server, which then ends this process
    os.nice(5)
    commands: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    _Worker(commands, sys.stdout.buffer).run()


if __name__ == "__main__":
    main()
