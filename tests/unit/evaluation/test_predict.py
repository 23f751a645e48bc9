"""When a busy endpoint is visited again."""

from __future__ import annotations

import time

import pytest
from vertex_tuning.evaluation.predict import next_attempt


def test_the_next_visit_is_in_one_or_two_minutes_but_never_after_the_deadline() -> None:
    visits = {next_attempt(time.time() + 3600).timestamp() - time.time() for _ in range(50)}
    assert 59 < min(visits) < max(visits) <= 120
    assert len(visits) > 40
    deadline = time.time() + 5
    assert next_attempt(deadline).timestamp() == pytest.approx(deadline)
