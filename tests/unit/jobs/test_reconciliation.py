"""Our counts against the service's."""

from __future__ import annotations

import re
from typing import Any

import pytest
from vertex_tuning.costs.token_estimate import FILES_AT_LEAST
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.reconciliation import compare_with_service

OURS = {"rows": 1000, "tokens": 100_000, "counted": "guessed"}


def job(**stats: Any) -> TuningJob:
    counted = {"tuning_dataset_example_count": "1000", "total_billable_token_count": "100000", **stats}
    return TuningJob.parse({"name": "n", "tuning_data_stats": {"supervised_tuning_data_stats": counted}})


@pytest.mark.parametrize("tokens", [98_040, 100_000, 102_040])
def test_counts_within_two_percent_are_passed_over(tokens: int) -> None:
    assert compare_with_service(OURS, job(total_billable_token_count=tokens)) == []


@pytest.mark.parametrize(("tokens", "warnings"), [(77_000, 0), (140_000, 0), (76_000, 1), (150_000, 1)])
def test_an_estimate_may_be_off_by_what_is_said_of_it(tokens: int, warnings: int) -> None:
    estimated = {**OURS, "counted": "estimated, up to 30 % off"}
    assert len(compare_with_service(estimated, job(total_billable_token_count=tokens))) == warnings


def test_a_job_without_counts_says_nothing() -> None:
    assert compare_with_service(OURS, TuningJob(name="n")) == []


@pytest.mark.parametrize(
    ("stats", "words"),
    [
        ({"total_billable_token_count": 90_000}, r"100,000 billable tokens \(guessed\), Vertex AI 90,000: \+11\.1%"),
        ({"tuning_dataset_example_count": 1100}, r"1,000 training examples, Vertex AI 1,100: -9\.1%"),
        ({"total_billable_token_count": 0}, r"100,000 billable tokens \(guessed\), Vertex AI 0\."),
        (
            {"total_truncated_example_count": 1, "dropped_example_reasons": ["too many tokens"]},
            r"dropped or cut 1 of 1000 training examples: too many tokens",
        ),
        ({"total_truncated_example_count": 3}, r"cut 3 of 1000 .*: it does not say why"),
    ],
)
def test_a_difference_or_a_dropped_row_is_a_warning(stats: dict[str, Any], words: str) -> None:
    [warning] = compare_with_service(OURS, job(**stats))
    assert re.search(words, warning)


def test_both_differences_are_told() -> None:
    found = compare_with_service(OURS, job(tuning_dataset_example_count=900, total_billable_token_count=80_000))
    assert len(found) == 2


@pytest.mark.parametrize(("tokens", "warnings"), [(100_000, 0), (5_000_000, 0), (60_000, 1)])
def test_files_may_cost_more_than_they_cost_at_least(tokens: int, warnings: int) -> None:
    bounded = {**OURS, "counted": f"estimated, up to 30 % off; {FILES_AT_LEAST}"}
    assert len(compare_with_service(bounded, job(total_billable_token_count=tokens))) == warnings
