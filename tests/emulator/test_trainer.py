"""The process that trains, beside the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.prompts import supervised_row
from include.gcp_emulator.model.trainer import Checkpoint, Done, Event, Failed, Step, Trainer, TrainRequest
from tests.emulator.training_support import (
    check_same,
    events_of,
    greedy,
    last_loss,
    of_kind,
)
from tests.support.paths import PROJECT_DIR
from tests.support.waiting import wait_until

BANKING77 = PROJECT_DIR.parent / "shared" / "data" / "banking77"


@pytest.fixture
async def trainer() -> AsyncIterator[Trainer]:
    made = Trainer()
    await made.start()
    yield made
    await made.stop()


class Log:
    """A listener that keeps what it heard.

    :param jobs: how many jobs must have ended for :meth:`ended` to return
    """

    def __init__(self, jobs: int = 1) -> None:
        self.events: list[Event] = []
        self._left = jobs
        self._ended = asyncio.Event()
        self._heard = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._heard.set()
        if isinstance(event, Done | Failed):
            self._left -= 1
            if not self._left:
                self._ended.set()

    async def ended(self, seconds: float = 60) -> list[Event]:
        await asyncio.wait_for(self._ended.wait(), seconds)
        return self.events

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait event by event: what a test does next comes before the event after it."""
        async with asyncio.timeout(60):
            while not true():
                self._heard.clear()
                await self._heard.wait()


def long(request: TrainRequest, **changes: Any) -> TrainRequest:
    return replace(request, epochs=5000, **changes)


class TestTrainer:
    async def test_a_job_reports_what_training_it_here_would(self, trainer: Trainer, request_: TrainRequest) -> None:
        log = Log()
        trainer.submit(request_, log)
        check_same(await log.ended(), events_of(request_))

    async def test_two_jobs_train_side_by_side(self, trainer: Trainer, request_: TrainRequest, tmp_path: Path) -> None:
        log = Log(jobs=2)
        (tmp_path / "b").mkdir()
        trainer.submit(replace(request_, job="a"), log)
        trainer.submit(replace(request_, job="b", output_dir=tmp_path / "b", seed=2), log)
        events = await log.ended()
        order = [event.job for event in of_kind(Step, events)]
        turns = sum(one != two for one, two in itertools.pairwise(order))
        assert turns > len(order) / 2
        own = [event for event in events if event.job == "a"]
        check_same(own, events_of(replace(request_, job="a")))

    async def test_a_cancelled_job_is_silent_and_others_go_on(
        self, trainer: Trainer, request_: TrainRequest, tmp_path: Path
    ) -> None:
        cancelled, other = Log(), Log()
        (tmp_path / "b").mkdir()
        trainer.submit(long(request_, job="a"), cancelled)
        await cancelled.until(lambda: len(cancelled.events) > 3)
        trainer.cancel("a")
        heard = len(cancelled.events)
        trainer.submit(replace(request_, job="b", output_dir=tmp_path / "b"), other)
        check_same(await other.ended(), events_of(replace(request_, job="b", output_dir=tmp_path / "b")))
        assert len(cancelled.events) == heard
        used = cpu_seconds(process_id(trainer))
        await asyncio.sleep(0.5)
        assert cpu_seconds(process_id(trainer)) - used < 0.1
        trainer.cancel("a")
        trainer.cancel("never submitted")

    async def test_a_job_submitted_again_starts_afresh(self, trainer: Trainer, request_: TrainRequest) -> None:
        first, second = Log(), Log()
        trainer.submit(long(request_), first)
        await first.until(lambda: len(first.events) > 3)
        heard = len(first.events)
        trainer.submit(request_, second)
        check_same(await second.ended(), events_of(request_))
        assert len(first.events) == heard

    @pytest.mark.parametrize(
        ("content", "message"), [("{}\n", "Row: 0. Missing required 'contents' field."), (None, "No such file")]
    )
    async def test_bad_data_fails_the_job_and_not_the_trainer(
        self, trainer: Trainer, request_: TrainRequest, content: str | None, message: str
    ) -> None:
        bad = request_.training.with_name("bad.jsonl")
        if content is not None:
            bad.write_text(content)
        failed, fine = Log(), Log()
        trainer.submit(replace(request_, job="bad", training=bad), failed)
        trainer.submit(request_, fine)
        (event,) = await failed.ended()
        assert isinstance(event, Failed)
        assert message in event.message
        assert isinstance((await fine.ended())[-1], Done)

    async def test_weights_that_cannot_be_read_or_written_fail_the_job(
        self, trainer: Trainer, request_: TrainRequest, tmp_path: Path
    ) -> None:
        broken = tmp_path / "broken.npz"
        broken.write_bytes(b"PK nonsense")
        for change in ({"base_weights": broken}, {"output_dir": tmp_path / "missing"}):
            log = Log()
            trainer.submit(replace(request_, **change), log)  # type: ignore[arg-type]
            assert isinstance((await log.ended())[-1], Failed)

    async def test_a_job_submitted_before_the_start_waits_for_it(self, request_: TrainRequest) -> None:
        trainer, log = Trainer(), Log()
        trainer.submit(request_, log)
        await trainer.start()
        assert isinstance((await log.ended())[-1], Done)
        await trainer.stop()

    async def test_paths_may_be_relative(
        self, trainer: Trainer, request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(request_.training.parent)
        log = Log()
        trainer.submit(replace(request_, training=Path("training.jsonl"), output_dir=Path("out")), log)
        assert isinstance((await log.ended())[-1], Done)

    async def test_a_listener_that_raises_harms_nobody(
        self, trainer: Trainer, request_: TrainRequest, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(_: Event) -> None:
            raise RuntimeError("not my day")

        log = Log()
        trainer.submit(replace(request_, job="broken"), broken)
        trainer.submit(request_, log)
        assert isinstance((await log.ended())[-1], Done)
        assert "not my day" in caplog.text

    async def test_steps_take_at_least_as_long_as_told(self, trainer: Trainer, request_: TrainRequest) -> None:
        warm_up, log = Log(), Log()
        trainer.submit(request_, warm_up)
        await warm_up.ended()
        started = time.monotonic()
        trainer.submit(replace(request_, epochs=1, step_seconds=0.1), log)
        steps = of_kind(Step, await log.ended())
        assert time.monotonic() - started >= 0.1 * (len(steps) - 1)

    async def test_the_event_loop_stays_free(self, trainer: Trainer, request_: TrainRequest) -> None:
        log = Log()
        trainer.submit(replace(request_, epochs=20, adapter_rank=32), log)
        await log.until(lambda: bool(log.events))
        delays = []
        for _ in range(100):
            before = time.monotonic()
            await asyncio.sleep(0.005)
            delays.append(time.monotonic() - before - 0.005)
        trainer.cancel(request_.job)
        # Training that held the loop up would delay nearly all; other programs on the machine delay some.
        assert np.quantile(delays, 0.25) < 0.01

    async def test_a_dead_process_fails_its_jobs_and_is_replaced(
        self, trainer: Trainer, request_: TrainRequest
    ) -> None:
        log, after = Log(), Log()
        trainer.submit(long(request_), log)
        await log.until(lambda: len(log.events) > 3)
        os.kill(process_id(trainer), signal.SIGKILL)
        event = (await log.ended())[-1]
        assert isinstance(event, Failed)
        assert "exit code -9" in event.message
        trainer.submit(replace(request_, job="next"), after)
        assert isinstance((await after.ended())[-1], Done)

    async def test_stopping_ends_the_process_whatever_it_does(self, request_: TrainRequest) -> None:
        trainer, log = Trainer(), Log()
        await trainer.start()
        trainer.submit(replace(request_, epochs=500, adapter_rank=32), log)
        await log.until(lambda: bool(log.events))
        process = process_id(trainer)
        heard = len(log.events)
        await asyncio.wait_for(trainer.stop(), 10)
        assert not alive(process)
        assert len(log.events) == heard
        await trainer.stop()

    async def test_it_uses_one_core_at_most(self, trainer: Trainer, request_: TrainRequest) -> None:
        log = Log(jobs=2)
        for job in ("a", "b"):
            (request_.output_dir / job).mkdir()
            wide = replace(request_, job=job, adapter_rank=32, epochs=6, output_dir=request_.output_dir / job)
            trainer.submit(wide, log)
        process, started = process_id(trainer), time.monotonic()
        used = cpu_seconds(process)
        await log.ended()
        assert cpu_seconds(process) - used <= 1.1 * (time.monotonic() - started) + 0.1
        assert os.getpriority(os.PRIO_PROCESS, process) > os.getpriority(os.PRIO_PROCESS, 0)


def process_id(trainer: Trainer) -> int:
    process = trainer._process
    assert process is not None
    return process.pid


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def cpu_seconds(process: int) -> float:
    """User and system time of a process and all its threads so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


PARENT = """
import asyncio, sys
from pathlib import Path
from include.gcp_emulator.model.trainer import Step, Trainer, TrainRequest

async def main():
    trainer = Trainer()
    await trainer.start()
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    request = TrainRequest("job", data, None, "supervised", 100000, 1.0, 32, 0.1, None, out, True, PACE, 1)
    trainer.submit(request, lambda event: print(trainer._process.pid, flush=True))
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.parametrize("pace", [0.0, 3600.0])
def test_the_process_ends_when_its_parent_is_killed(request_: TrainRequest, pace: float) -> None:
    """In the midst of its work as well as while it waits."""
    program = PARENT.replace("PACE", str(pace))
    command = [sys.executable, "-c", program, str(request_.training), str(request_.output_dir)]
    with subprocess.Popen(command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    wait_until(lambda: not alive(child), 5)


@pytest.mark.skipif(not BANKING77.is_dir(), reason=f"needs the Banking77 dataset in {BANKING77}")
@pytest.mark.timeout(300)
async def test_banking77_is_learnt_in_seconds(trainer: Trainer, request_: TrainRequest) -> None:
    """77 classes, 9,003 rows, 6 epochs: at least 87 % of 1,000 unseen queries answered exactly."""
    log = Log()
    process = process_id(trainer)
    used = cpu_seconds(process)
    data = replace(request_, training=BANKING77 / "train.jsonl", validation=BANKING77 / "validation.jsonl")
    trainer.submit(replace(data, epochs=6, last_checkpoint_only=True), log)
    events = await log.ended(240)
    assert last_loss(events, "/eval_fraction_of_correct_next_step_preds") >= 0.9
    assert cpu_seconds(process) - used < 20
    model = Model.load(of_kind(Checkpoint, events)[-1].weights)
    lines = (BANKING77 / "test.jsonl").read_text(encoding="utf-8").splitlines()[:1000]
    tests = [supervised_row(json.loads(line))[0] for line in lines]
    assert np.mean([greedy(model, prompt) == answer for prompt, answer in tests]) >= 0.87
