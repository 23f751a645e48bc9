"""Training: what it reports, that its settings matter, and the process that does it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from include.gcp_emulator.model.dataset import Dataset, DatasetError
from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.objectives import Preferred, Supervised
from include.gcp_emulator.model.prompts import Prompt, Turn, supervised_row
from include.gcp_emulator.model.sampling import Answer, Sampling, write
from include.gcp_emulator.model.trainer import Checkpoint, Done, Evaluation, Event, Failed, Step, Trainer, TrainRequest
from include.gcp_emulator.model.training import TrainingError, batch_size, checkpoint_epochs, schedule, train

E = TypeVar("E", Step, Evaluation, Checkpoint)

PROJECT = Path(__file__).resolve().parents[2]
BANKING77 = PROJECT.parent / "shared" / "data" / "banking77"
COLOURS = {"sky": "blue", "grass": "light green", "blood": "dark red", "snow": "white", "coal": "black"}


def row(question: str, answer: str) -> dict[str, Any]:
    turns = [("user", question), ("model", answer)]
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}


def colour_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    things = list(COLOURS)
    made = []
    for number in range(start, start + count):
        thing = things[number % len(things)]
        made.append(row(f"Number {number}: what colour has the {thing}?", COLOURS[thing]))
    return made


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    """A small job that is done in a moment."""
    output = tmp_path / "out"
    output.mkdir()
    return TrainRequest(
        job="projects/1/locations/l/tuningJobs/1",
        training=write_rows(tmp_path / "training.jsonl", colour_rows(100)),
        validation=write_rows(tmp_path / "validation.jsonl", colour_rows(20, start=1000)),
        method="supervised",
        epochs=3,
        learning_rate_multiplier=1.0,
        adapter_rank=4,
        beta=0.1,
        base_weights=None,
        output_dir=output,
        last_checkpoint_only=False,
        step_seconds=0.0,
        seed=1,
    )


def events_of(request: TrainRequest) -> list[Event]:
    return [event for event in train(request) if event is not None]


def of_kind(kind: type[E], events: Iterable[Event]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def check_same(events: list[Event], others: list[Event]) -> None:
    """Two runs report the same, up to rounding: with another number of threads sums are added up in another order."""
    outlines = [
        [(type(e), e.job, getattr(e, "step", 0), getattr(e, "epoch", 0)) for e in run] for run in (events, others)
    ]
    assert outlines[0] == outlines[1]
    figures = [[v for e in run for v in getattr(e, "metrics", {}).values()] for run in (events, others)]
    assert figures[0] == pytest.approx(figures[1], rel=1e-2)


def last_loss(events: Iterable[Event], name: str = "/eval_total_loss") -> float:
    return of_kind(Evaluation, events)[-1].metrics[name]


def greedy(model: Model, prompt: Prompt) -> str:
    return "".join(write(model, prompt, Sampling(temperature=0), np.random.default_rng(0), Answer()))


class TestTraining:
    def test_events_come_in_order_with_the_metrics_of_the_service(self, request_: TrainRequest) -> None:
        events = events_of(request_)
        steps, checkpoints = of_kind(Step, events), of_kind(Checkpoint, events)
        assert [step.step for step in steps] == list(range(1, steps[0].total_steps + 1))
        assert [step.epoch for step in steps] == sorted(step.epoch for step in steps)
        assert {step.epoch for step in steps} == {1, 2, 3}
        for kind, found in (("train", steps), ("eval", of_kind(Evaluation, events))):
            for event in found:
                metrics = dict(event.metrics)
                assert metrics.pop(f"/{kind}_total_loss") > 0
                assert 0 <= metrics.pop(f"/{kind}_fraction_of_correct_next_step_preds") <= 1
                assert metrics.pop(f"/{kind}_num_predictions") > 0
                assert not metrics
        assert [(c.checkpoint_id, c.epoch) for c in checkpoints] == [("1", 1), ("2", 2), ("3", 3)]
        assert isinstance(events[-1], Done)
        assert isinstance(events[-2], Checkpoint)
        assert isinstance(events[-3], Evaluation)

    def test_an_evaluation_ends_every_epoch_before_its_checkpoint(self, request_: TrainRequest) -> None:
        events = events_of(request_)
        for place, event in enumerate(events):
            if isinstance(event, Checkpoint):
                before = events[place - 1]
                assert isinstance(before, Evaluation)
                assert (before.epoch, before.step) == (event.epoch, event.step)

    def test_predictions_are_the_tokens_of_the_answers_and_their_ends(self, request_: TrainRequest) -> None:
        """Two words and the end for "light green", one and the end for "blue"."""
        events = events_of(request_)
        per_epoch = sum(s.metrics["/train_num_predictions"] for s in of_kind(Step, events) if s.epoch == 1)
        assert per_epoch == 100 / 5 * (3 + 3 + 2 + 2 + 2)
        assert last_loss(events, "/eval_num_predictions") == 20 / 5 * (3 + 3 + 2 + 2 + 2)

    def test_metrics_are_the_models_own(self, request_: TrainRequest) -> None:
        """The last evaluation can be repeated from the last checkpoint."""
        events = events_of(request_)
        model = Model.load(of_kind(Checkpoint, events)[-1].weights)
        assert request_.validation is not None
        dataset = Dataset(request_.validation, preference=False)
        list(dataset.scan())
        objective = Supervised(model)
        measured = objective.evaluation(objective.measure([dataset.row(n, model) for n in range(len(dataset))]))
        dataset.close()
        assert measured == pytest.approx(of_kind(Evaluation, events)[-1].metrics, rel=1e-4)

    def test_the_model_answers_what_it_was_not_shown(self, request_: TrainRequest) -> None:
        model = Model.load(of_kind(Checkpoint, events_of(replace(request_, epochs=6)))[-1].weights)
        unseen = [supervised_row(item)[0] for item in colour_rows(50, start=5000)]
        assert [greedy(model, prompt) for prompt, _ in unseen] == [answer for _, answer in unseen]

    def test_the_same_seed_gives_the_same_everything(self, request_: TrainRequest) -> None:
        first, second = events_of(request_), events_of(request_)
        assert first == second
        other = events_of(replace(request_, seed=2))
        assert last_loss(other) != last_loss(first)

    def test_losses_fall_from_epoch_to_epoch(self, request_: TrainRequest) -> None:
        losses = {event.epoch: event.metrics["/eval_total_loss"] for event in of_kind(Evaluation, events_of(request_))}
        assert losses[1] > losses[2] > losses[3]

    def test_more_epochs_a_higher_multiplier_and_a_wider_adapter_learn_more(self, request_: TrainRequest) -> None:
        usual = last_loss(events_of(request_))
        assert last_loss(events_of(replace(request_, epochs=1))) > 1.2 * usual
        assert last_loss(events_of(replace(request_, epochs=6))) < usual / 1.2
        assert last_loss(events_of(replace(request_, learning_rate_multiplier=0.1))) > 1.2 * usual
        assert last_loss(events_of(replace(request_, learning_rate_multiplier=3.0))) < usual / 1.2
        assert last_loss(events_of(replace(request_, adapter_rank=1))) > 1.2 * usual
        assert last_loss(events_of(replace(request_, adapter_rank=16))) < usual / 1.2

    def test_no_validation_data_no_evaluations(self, request_: TrainRequest) -> None:
        assert not of_kind(Evaluation, events_of(replace(request_, validation=None)))

    def test_only_the_last_checkpoint_when_asked(self, request_: TrainRequest) -> None:
        found = of_kind(Checkpoint, events_of(replace(request_, last_checkpoint_only=True)))
        assert [(c.checkpoint_id, c.epoch) for c in found] == [("1", 3)]
        assert [path.name for path in request_.output_dir.iterdir()] == ["checkpoint-1.npz"]

    def test_checkpoints_are_different_models(self, request_: TrainRequest) -> None:
        paths = [c.weights for c in of_kind(Checkpoint, events_of(request_))]
        assert len({path.read_bytes() for path in paths}) == 3

    @pytest.mark.parametrize(
        ("epochs", "kept"),
        [
            (1, [1]),
            (9, list(range(1, 10))),
            (10, list(range(1, 11))),
            (20, list(range(2, 21, 2))),
            (25, [2, 5, 8, 10, 12, 15, 18, 20, 22, 25]),
        ],
    )
    def test_up_to_ten_checkpoints_evenly_spread_and_the_final_one(self, epochs: int, kept: list[int]) -> None:
        assert checkpoint_epochs(epochs) == kept

    def test_batches_and_rates_are_sensible(self) -> None:
        assert [batch_size(rows) for rows in (1, 200, 720, 9003, 10**7)] == [4, 4, 14, 64, 64]
        rates = [schedule(step, 200) for step in range(1, 201)]
        assert max(rates) == rates[9]
        assert min(rates) == rates[-1] > 0

    @pytest.mark.parametrize("rows", [1, 3])
    def test_a_tiny_dataset_is_enough_to_run(self, request_: TrainRequest, rows: int) -> None:
        write_rows(request_.training, colour_rows(rows))
        assert isinstance(events_of(request_)[-1], Done)

    def test_long_answers_and_prompts_are_trained_on_in_bounds(self, request_: TrainRequest) -> None:
        text = " ".join(f"word{number}" for number in range(6000))
        write_rows(request_.training, [row(text + str(n), text) for n in range(8)])
        events = events_of(replace(request_, epochs=1, validation=None))
        assert of_kind(Step, events)[0].metrics["/train_num_predictions"] == 4 * 256

    def test_rows_are_read_again_when_there_is_no_room_to_keep_them(
        self, request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        roomy = events_of(request_)
        monkeypatch.setattr("include.gcp_emulator.model.dataset._CACHED_FEATURES", 500)
        assert events_of(request_) == roomy

    def test_blank_lines_do_not_count(self, request_: TrainRequest) -> None:
        plain = events_of(request_)
        request_.training.write_text(request_.training.read_text().replace("\n", "\n\n  \n"))
        assert events_of(request_) == plain

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no rows"),
            (b"\n\n", "no rows"),
            (b"not json\n", r"^Row: 0\. "),
            (json.dumps(row("a", "b")).encode() + b"\n{}\n", r"^Row: 1\. Missing required 'contents'"),
            (b"\xff\xfe\n", r"^Row: 0\. "),
            (b"[" * 100_000 + b"\n", r"^Row: 0\. "),
        ],
    )
    def test_a_bad_row_is_named(self, request_: TrainRequest, content: bytes, message: str) -> None:
        request_.training.write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            events_of(request_)

    def test_a_bad_validation_row_fails_before_any_step(self, request_: TrainRequest) -> None:
        assert request_.validation is not None
        request_.validation.write_text("{}\n")
        events = train(request_)
        with pytest.raises(DatasetError, match="Row: 0"):
            next(event for event in events if event is not None)

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_a_rate_that_breaks_the_model_is_told(self, request_: TrainRequest) -> None:
        with pytest.raises(TrainingError, match="lower the learning rate multiplier"):
            events_of(replace(request_, learning_rate_multiplier=1e38))

    def test_continuous_tuning_goes_on_from_the_base(self, request_: TrainRequest) -> None:
        """It starts with the loss the base ended with, learns new words and keeps the old answers."""
        base_events = events_of(replace(request_, epochs=6))
        base = of_kind(Checkpoint, base_events)[-1].weights
        saved = base.rename(base.with_name("base.npz"))
        go_on = replace(request_, base_weights=saved, epochs=1)
        first = of_kind(Step, events_of(go_on))[0].metrics["/train_total_loss"]
        assert first < 2 * of_kind(Step, base_events)[-1].metrics["/train_total_loss"] + 0.05
        assert first < of_kind(Step, events_of(request_))[0].metrics["/train_total_loss"] / 10

        new = [row(f"Case {n}: which colour has the ocean?", "turquoise") for n in range(40)]
        write_rows(request_.training, [*new, *colour_rows(40)])
        events = events_of(replace(go_on, epochs=4, adapter_rank=8, validation=None))
        model = Model.load(of_kind(Checkpoint, events)[-1].weights)
        assert model.width == 128
        asked = [supervised_row(item)[0][0] for item in (new[0], *colour_rows(5, start=900))]
        assert [greedy(model, prompt) for prompt in asked] == ["turquoise", *COLOURS.values()]


class TestPreference:
    @pytest.fixture
    def preference(self, request_: TrainRequest) -> TrainRequest:
        """Polite answers are preferred to rude ones; the better one comes first in every second row."""
        for path, start in ((request_.training, 0), (request_.validation, 500)):
            rows = []
            for number in range(start, start + 60):
                said = [(1, "With pleasure, dear customer."), (0, "Go away, you fool.")]
                completions = [
                    {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
                    for score, text in (said if number % 2 else said[::-1])
                ]
                asked = {"role": "user", "parts": [{"text": f"Request {number}: please help me."}]}
                rows.append({"contents": [asked], "completions": completions})
            assert path is not None
            write_rows(path, rows)
        return replace(request_, method="preference")

    def test_the_loss_starts_at_ln_2_and_falls(self, preference: TrainRequest) -> None:
        events = events_of(preference)
        losses = [step.metrics["/preference_optimization_train_loss"] for step in of_kind(Step, events)]
        assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
        assert losses[-1] < 0.8 * losses[0]
        assert all(set(step.metrics) == {"/preference_optimization_train_loss"} for step in of_kind(Step, events))
        evaluations = of_kind(Evaluation, events)
        assert all(set(event.metrics) == {"/eval_total_loss"} for event in evaluations)
        assert evaluations[-1].metrics["/eval_total_loss"] < evaluations[0].metrics["/eval_total_loss"]

    def test_the_preferred_answer_is_given(self, preference: TrainRequest) -> None:
        model = Model.load(of_kind(Checkpoint, events_of(preference))[-1].weights)
        prompt = Prompt("", (Turn("user", "Request 999: please help me."),))
        assert greedy(model, prompt) == "With pleasure, dear customer."

    def test_beta_matters(self, preference: TrainRequest) -> None:
        strict, loose = (last_loss(events_of(replace(preference, beta=beta))) for beta in (0.01, 0.5))
        assert loose < strict / 2

    def test_the_gradient_is_the_slope_of_the_dpo_loss(self, preference: TrainRequest) -> None:
        start = Model.load(of_kind(Checkpoint, events_of(replace(preference, epochs=1)))[-1].weights)
        objective = Preferred(start, beta=0.3)
        start.parameters["output_bias"][:] += np.random.default_rng(0).normal(0, 0.2, len(start.vocabulary))
        dataset = Dataset(preference.training, preference=True)
        list(dataset.scan())
        rows = [dataset.row(n, start) for n in range(10)]
        dataset.close()
        slope = objective.gradient(rows)[1]["output_bias"][1]
        bias = start.parameters["output_bias"]
        for token in np.argsort(-np.abs(slope))[:3]:
            sums = []
            for change in (1e-2, -2e-2, 1e-2):
                bias[token] += change
                sums.append(objective.measure(rows)[0] / len(rows))
            assert slope[token] == pytest.approx((sums[0] - sums[1]) / 2e-2, rel=0.02, abs=1e-4)

    def test_it_goes_on_from_a_tuned_model(self, preference: TrainRequest, tmp_path: Path) -> None:
        """The reference is that model, so the first loss is ln 2 again."""
        base = of_kind(Checkpoint, events_of(preference))[-1].weights.rename(tmp_path / "base.npz")
        losses = [
            step.metrics["/preference_optimization_train_loss"]
            for step in of_kind(Step, events_of(replace(preference, base_weights=base)))
        ]
        assert losses[0] == pytest.approx(np.log(2), abs=1e-6)
        assert losses[-1] < losses[0]


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
        assert np.median(delays) < 0.01

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
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


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
