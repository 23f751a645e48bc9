"""The smoke test against a model that was really tuned."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning import exceptions
from vertex_tuning.operators.smoke_test import SmokeTestOperator

from tests.vertex_tuning.conftest import VALIDATION
from tests.vertex_tuning.tasks import TaskContext, execute


def smoke_test(done: dict[str, Any], *cases: dict[str, Any], **arguments: Any) -> SmokeTestOperator:
    endpoint = done["tuned_model"]["endpoint"]
    return SmokeTestOperator(task_id="smoke", endpoint=endpoint, cases=list(cases), **arguments)


RIGHT = {"prompt": "My card is lost, message 5000.", "equals": "lost"}
WRONG = {"prompt": "My card is lost, message 5000.", "equals": "found"}


def test_a_model_that_answers_as_expected_passes(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, RIGHT, sample_uri=VALIDATION, sample_size=4))
    assert (result["cases"]["passed"], result["sample"]["passed"], result["sample"]["total"]) == (1, 4, 4)


def test_a_model_that_does_not_fails_with_prompt_answer_and_expectation(done: dict[str, Any]) -> None:
    context = TaskContext()
    with pytest.raises(exceptions.SmokeTestError, match="1 of 2 cases passed") as error:
        execute(smoke_test(done, RIGHT, WRONG), context)
    assert "'lost': expected 'found'" in str(error.value)
    assert len(context.xcoms["answers"]["cases"]["answers"]) == 2
    assert execute(smoke_test(done, RIGHT, WRONG, min_pass_share=0.5))["cases"]["passed"] == 1


def test_cases_of_another_subject_can_be_left_out(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, WRONG, ask_cases="False", sample_uri=VALIDATION))
    assert (result["cases"]["total"], result["sample"]["total"]) == (0, 10)
    with pytest.raises(exceptions.ConfigurationError, match="something to ask"):
        execute(smoke_test(done, WRONG, ask_cases=False))


def test_a_case_that_is_none_is_named(done: dict[str, Any]) -> None:
    with pytest.raises(exceptions.ConfigurationError, match="`question`"):
        execute(smoke_test(done, {"question": "?"}))
