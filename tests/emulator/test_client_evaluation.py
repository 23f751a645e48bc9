"""Evaluation by Google's own client, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pandas as pd
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials

from tests.emulator.predictions import PARENT

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own imports warn of this and that

REFERENCE = "The parcel is late. It arrives on Monday."
GOOD, BAD = "The parcel is late and arrives on Monday.", "Please restart the app."


@pytest.fixture(scope="module")
def sdk() -> Iterator[Any]:
    """Google's module, imported without its list of prices from the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
        import agentplatform

        yield agentplatform


@pytest.fixture(scope="module")
def evals(sdk: Any, emulator: str) -> Any:
    options = {"base_url": emulator}
    client = sdk.Client(
        project="my-project", location="us-central1", credentials=Credentials(token="local"), http_options=options
    )
    return client.evals


def content(text: str) -> genai_types.Content:
    return genai_types.Content(role="user", parts=[genai_types.Part(text=text)])


def scores(result: Any) -> dict[str, list[float]]:
    """The scores of the first response of each case, by metric."""
    found: dict[str, list[float]] = {}
    for case in result.eval_case_results:
        for name, metric in case.response_candidate_results[0].metric_results.items():
            assert metric.error_message is None, metric.error_message
            found.setdefault(name, []).append(metric.score)
    return found


def test_evaluate_a_frame(sdk: Any, evals: Any) -> None:
    types = sdk.types
    frame = pd.DataFrame({"prompt": ["Where is it?"] * 2, "response": [GOOD, BAD], "reference": [REFERENCE] * 2})
    own = types.LLMMetric(
        name="own",
        prompt_template=types.MetricPromptBuilder(
            criteria={"Brevity": "It is short."}, rating_scores={"1": "n", "5": "y"}
        ),
    )
    metrics = [
        *(types.Metric(name=name) for name in ("exact_match", "bleu", "rouge_1", "rouge_l_sum")),
        types.RubricMetric.GENERAL_QUALITY(version="v1"),
        types.RubricMetric.FINAL_RESPONSE_MATCH(version="v2"),
        own,
    ]
    result = evals.evaluate(dataset=frame, metrics=metrics, config={"evaluation_service_qps": 1000})
    found = scores(result)
    assert found.pop("exact_match") == [0, 0]
    assert len(found) == 6
    assert all(good > bad for good, bad in found.values()), found
    assert {summary.num_cases_error for summary in result.summary_metrics} == {0}


def test_evaluate_two_models(sdk: Any, evals: Any) -> None:
    types = sdk.types
    case = types.EvalCase(
        prompt=content("Where is it?"),
        reference=types.ResponseCandidate(response=content(REFERENCE)),
        responses=[],
    )
    datasets = [
        types.EvaluationDataset(
            candidate_name=name,
            eval_cases=[case.model_copy(update={"responses": [types.ResponseCandidate(response=content(text))]})],
        )
        for name, text in (("old", BAD), ("new", GOOD))
    ]
    result = evals.evaluate(dataset=datasets, metrics=[types.RubricMetric.TEXT_QUALITY(version="v1")])
    assert result.win_rates["text_quality_v1"]["win_rates"] == [0, 1]


def test_the_default_version_is_not_in_us_central1(sdk: Any, evals: Any) -> None:
    frame = pd.DataFrame({"prompt": ["p"], "response": ["r"]})
    result = evals.evaluate(dataset=frame, metrics=[sdk.types.Metric(name="general_quality_v2")])
    error = result.eval_case_results[0].response_candidate_results[0].metric_results["general_quality_v2"]
    assert "not available in location us-central1" in error.error_message


@pytest.mark.parametrize(("candidate", "choice"), [(GOOD, "CANDIDATE"), (BAD, "TIE"), ("", "BASELINE")])
def test_evaluate_a_pair(evals: Any, candidate: str, choice: str) -> None:
    from vertexai.evaluation import MetricPromptTemplateExamples

    template = MetricPromptTemplateExamples.get_prompt_template("pairwise_summarization_quality")
    values = {"prompt": REFERENCE, "baseline_model_response": BAD, "response": candidate}
    request = {
        "pairwise_metric_input": {
            "metric_spec": {"metric_prompt_template": template, "system_instruction": "Be fair."},
            "instance": {"json_instance": json.dumps(values)},
        },
        "autorater_config": {"flip_enabled": False},
    }
    result = evals.evaluate_instances(metric_config=request).pairwise_metric_result
    assert result.pairwise_choice == choice
    assert result.explanation


def test_nothing_else_is_called(sdk: Any, evals: Any, emulator: str) -> None:
    httpx.delete(f"{emulator}/_internal/requests").raise_for_status()
    frame = pd.DataFrame({"prompt": ["p"], "response": ["r"], "reference": ["r"]})
    evals.evaluate(dataset=frame, metrics=[sdk.types.Metric(name="exact_match")])
    assert httpx.get(f"{emulator}/_internal/requests").json()["counts"] == {"evaluateInstances": {"200": 1}}


def test_gapic(emulator: str) -> None:
    client = aiplatform_v1.EvaluationServiceClient(
        transport="rest", client_options={"api_endpoint": emulator}, credentials=AnonymousCredentials()
    )
    request = {
        "location": PARENT,
        "rouge_input": {
            "metric_spec": {"rouge_type": "rougeLsum"},
            "instances": [{"prediction": GOOD, "reference": REFERENCE}],
        },
    }
    (value,) = client.evaluate_instances(request).rouge_results.rouge_metric_values
    assert 0.5 < value.score < 1
