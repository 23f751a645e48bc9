"""What a job's metrics come to, on series and jobs made for it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import Point, Series
from vertex_tuning.metrics.summary import job_metrics, missing

from tests.support.series import series

LOSS, EVAL = "/train_total_loss", "/eval_total_loss"


def job(*, steps: int | None = 8, epochs: int | None = 4, done: int | None = None, **fields: Any) -> TuningJob:
    stats = {"tuning_step_count": steps, "total_billable_token_count": 1000}
    return TuningJob.parse(
        {
            "name": "projects/1/locations/us-central1/tuningJobs/2",
            "state": "JOB_STATE_SUCCEEDED",
            "create_time": "2026-01-01T00:00:00Z",
            "start_time": "2026-01-01T00:00:30.5Z",
            "end_time": "2026-01-01T00:10:30.500000001Z",
            "supervised_tuning_spec": {
                "validation_dataset_uri": "gs://b/validation.jsonl",
                "hyper_parameters": {"epoch_count": epochs},
            },
            "tuning_data_stats": {"supervised_tuning_data_stats": stats},
            "tuning_job_metadata": {"completed_step_count": done},
            "tuned_model": {
                "checkpoints": [
                    {"checkpoint_id": "1", "epoch": 2, "step": 4, "endpoint": "one"},
                    {"checkpoint_id": "2", "epoch": 4, "step": 8, "endpoint": "two"},
                ]
            },
            **fields,
        }
    )


OVERFITTED = [
    series(LOSS, 8.0, 6.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.3),
    series(EVAL, 3.0, 2.0, 2.5, 2.7, every=2),
    series("/train_num_predictions", *[64.0] * 8),
]


def test_epochs_have_equal_shares_of_the_steps() -> None:
    first, second, *_ = epochs = job_metrics(job(), OVERFITTED).epochs
    assert [(one.epoch, one.step) for one in epochs] == [(1, 2), (2, 4), (3, 6), (4, 8)]
    assert (first.mean, first.last) == ({LOSS: 7.0, EVAL: 3.0}, {LOSS: 6.0, EVAL: 3.0})
    assert (second.mean[LOSS], second.last[LOSS]) == (4.0, 3.0)


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"steps": 10}, [2, 5, 7, 10]),
        ({"steps": None, "done": 7}, [1, 3, 5, 7]),
        ({"steps": None}, [2, 4, 6, 8]),  # of the series
        ({"epochs": None}, []),
    ],
)
def test_how_long_epochs_are_when_the_job_says_less(fields: dict[str, Any], ends: list[int]) -> None:
    assert [one.step for one in job_metrics(job(**fields), OVERFITTED).epochs] == ends


def test_a_checkpoint_has_each_metric_at_its_step_and_the_best_is_known() -> None:
    found = job_metrics(job(), OVERFITTED)
    assert [(one.checkpoint_id, one.metrics) for one in found.checkpoints] == [
        ("1", {LOSS: 3.0, EVAL: 2.0}),
        ("2", {LOSS: 0.3, EVAL: 2.7}),
    ]
    assert found.best_checkpoint == found.checkpoints[0]


def test_a_value_from_before_the_checkpoint_before_is_not_its_own() -> None:
    found = job_metrics(job(), [OVERFITTED[0], series(EVAL, 2.0, every=4)])
    assert EVAL not in found.checkpoints[1].metrics
    assert job_metrics(job(), [OVERFITTED[0]]).best_checkpoint is None
    assert job_metrics(job(tuned_model=None), OVERFITTED).checkpoints == []


def test_where_overfitting_starts_and_what_to_do() -> None:
    found = job_metrics(job(), OVERFITTED)
    assert found.overfitting is not None
    assert (found.overfitting.step, found.overfitting.epoch) == (6, 3)
    assert (found.values["overfitting"], found.values["overfitting_epoch"]) == (1.0, 3.0)
    assert found.warnings == [
        "The model is over-fitted from epoch 3 (step 6) on: validation loss 2 at step 4, 2.7 at the end. "
        "Checkpoint 1 (epoch 2) has the lowest validation loss. Fewer epochs, more data or "
        "`promotion.checkpoint: best` can help."
    ]


def test_values_are_flat_and_what_is_not_known_is_not_there() -> None:
    found = job_metrics(job(), [series(LOSS, 3.0, 1.0, math.nan), series(EVAL, 2.0, 1.0, every=4)])
    assert found.values == {
        "train_total_loss.first": 3.0,
        "train_total_loss.best": 1.0,
        "train_total_loss.best_step": 2.0,
        "eval_total_loss.first": 2.0,
        "eval_total_loss.last": 1.0,
        "eval_total_loss.best": 1.0,
        "eval_total_loss.best_step": 8.0,
        "overfitting": 0.0,
        "billed_tokens": 4000.0,
        "duration_seconds": 600.0,
        "queue_seconds": 30.5,
    }
    assert found.warnings == ["/train_total_loss: 1 of 3 values are not finite numbers."]


def test_without_series_there_is_what_the_job_reports() -> None:
    found = job_metrics(job(), [])
    assert sorted(found.values) == ["billed_tokens", "duration_seconds", "queue_seconds"]
    assert (found.metrics, found.overfitting, found.best_checkpoint) == ({}, None, None)
    bare = TuningJob.parse({"name": "projects/1/locations/us-central1/tuningJobs/2"})
    assert job_metrics(bare, []).values == {}


@pytest.mark.parametrize(
    ("fields", "found", "gaps"),
    [
        ({}, [series(LOSS, *range(8)), series(EVAL, 1, 2, every=4)], []),
        ({}, [series(LOSS, *range(7)), series(EVAL, 1, 2, every=4)], ["/train_total_loss ends at step 7 of 8"]),
        ({}, [series(LOSS, *range(8)), series(EVAL, 1, every=4)], ["/eval_total_loss ends at step 4 of 8"]),
        ({"done": 6}, [series(LOSS, *range(6)), series(EVAL, 1, 2, every=3)], []),  # ended early
        ({}, [series(LOSS, *range(8))], ["no validation metrics"]),
        ({"supervised_tuning_spec": {}}, [series(LOSS, *range(8))], []),
        ({}, [], ["no training metrics", "no validation metrics"]),
        ({}, [series(LOSS), series(EVAL, 1, 2, every=4)], ["no training metrics"]),
        ({"steps": None}, [series(LOSS, 1), series(EVAL, 1)], []),  # who knows
        ({"steps": 100}, [series(LOSS, *range(9), every=11), series(EVAL, *range(3), every=30)], []),  # strides
        ({"steps": 2}, [Series(LOSS, [Point(0, 1.0, ""), Point(1, 1.0, "")]), series(EVAL, 1, every=2)], []),  # from 0
    ],
)
def test_complete_is_up_to_the_last_step(fields: dict[str, Any], found: list[Series], gaps: list[str]) -> None:
    assert missing(job(**fields), found) == gaps
