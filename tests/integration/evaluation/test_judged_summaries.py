"""Summaries of a tuned model and of its base model, predicted and scored through the real clients."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from vertex_tuning.evaluation.cases import SmokeCase, judge_prompt
from vertex_tuning.evaluation.judging import score_models
from vertex_tuning.evaluation.sample_metrics import default_metrics, parse_metrics
from vertex_tuning.evaluation.significance import score_gain
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.evaluation_service import EvaluationServiceHook
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import terminal_event
from vertex_tuning.scores import AnsweredRow

from include.data.call_notes import generate
from tests.integration.conftest import LOCATION, spec
from tests.support.emulator import upload

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the evaluation client's own
    pytest.mark.timeout(300),  # it trains, and imports two large libraries
]

PAIR = ("challenger", "baseline")
BASE_MODEL = "gemini-2.5-flash"


@pytest.fixture(scope="module")
def training_uri(emulator: str) -> str:
    return upload(emulator, "gs://bucket/call_notes.jsonl", generate.files()["training.jsonl"].encode())


@pytest.fixture
def endpoint(hook: VertexTuningHook, training_uri: str) -> str:
    """The endpoint of a model that is tuned on the sample's training data."""
    job = hook.create_tuning_job(
        spec(base_model=BASE_MODEL, training_uri=training_uri, validation_uri=None, epoch_count=4), {"a": "summaries"}
    )
    deadline = time.monotonic() + 100
    while not terminal_event(job):
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
        job = hook.get_tuning_job(job.name)
    assert job.tuned_model
    return job.tuned_model.endpoint


def cases(count: int) -> Iterator[SmokeCase]:
    """Notes that no file has."""
    for (notes, summary), _ in zip(generate.examples(seed=5), range(count), strict=False):
        yield SmokeCase(prompt=notes, system_instruction=generate.INSTRUCTION, equals=summary)


def test_a_tuned_model_beats_its_base_model(hook: VertexTuningHook, endpoint: str) -> None:
    models = {"challenger": endpoint, "baseline": hook.base_model_name(BASE_MODEL, LOCATION)}
    rows = [
        AnsweredRow(
            id=str(number),
            prompt=judge_prompt(case),
            reference=str(case.equals),
            answers={
                role: hook.generate(name, case.contents(), case.config()).text or "" for role, name in models.items()
            },
        )
        for number, case in enumerate(cases(25))
    ]
    service = EvaluationServiceHook(GoogleConnection(location=LOCATION), requests_per_second=100)
    found = score_models(service, rows, parse_metrics(default_metrics("summarization")), pair=PAIR)
    assert found.errors == {}
    assert found.values["challenger"]["sample.rouge_l_sum"] > 0.5
    assert found.values["baseline"]["sample.rouge_l_sum"] < 0.2
    assert found.win_rate
    assert found.win_rate.lower > 0.5
    new, base = ([row.scores["sample.rouge_l_sum"][model].value or 0.0 for row in found.rows] for model in PAIR)
    gain = score_gain(new, base, 0.95)
    assert gain.lower > 0.3
