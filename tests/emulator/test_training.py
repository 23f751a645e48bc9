"""Training: what it reports, and that its settings matter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from include.gcp_emulator.model.dataset import Dataset, DatasetError
from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.objectives import Preferred, Supervised
from include.gcp_emulator.model.prompts import Prompt, Turn, supervised_row
from include.gcp_emulator.model.trainer import Checkpoint, Done, Evaluation, Step, TrainRequest
from include.gcp_emulator.model.training import TrainingError, batch_size, checkpoint_epochs, schedule, train
from tests.emulator.training_support import (
    COLOURS,
    colour_rows,
    events_of,
    greedy,
    last_loss,
    of_kind,
    row,
    write_rows,
)


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
