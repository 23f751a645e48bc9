"""What the smoke test refuses when the DAG is read."""

from __future__ import annotations

import math
from typing import Any

import pytest
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.operators.smoke_test import SmokeTestOperator


@pytest.mark.parametrize("name", ["min_pass_share", "min_sample_share"])
@pytest.mark.parametrize("share", [math.nan, math.inf, -1, -0.001, 1.001, True, "0.5"])
def test_a_share_that_is_none_is_refused_when_the_dag_is_read(name: str, share: Any) -> None:
    """NaN would let every model pass."""
    with pytest.raises(ConfigurationError, match=f"{name}: found .*expected a number from 0 to 1"):
        SmokeTestOperator(task_id="smoke", endpoint="e", **{name: share})
