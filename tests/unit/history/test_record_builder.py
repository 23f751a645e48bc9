"""The record of a run, from the results of its tasks."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from vertex_tuning.history.record_builder import build_record
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.operators.report import ROLLBACK_TASKS
from vertex_tuning.report.build import build
from vertex_tuning.report.material import Material
from vertex_tuning.results import CandidateResult, ModelDescription, PreviousResult, Role, SelectionResult

from tests.support import report_samples as samples

KEY = "0123456789abcdef"
PLACE = samples.PLACE


def record_of(given: Material, **fields: Any) -> RunRecord:
    made = build_record(given, build(given), **{"tuning": "support_triage", "key": KEY, **fields})
    assert msgspec.json.decode(msgspec.json.encode(made), type=RunRecord) == made  # it can be read again
    return made


def test_a_run_is_recorded_with_its_models_scores_and_cost() -> None:
    given = samples.material(evaluation=samples.compared_evaluation(verdict="better", reasons=["Enough."]))
    given.started = "2026-03-02T05:00:01+00:00"
    record = record_of(
        given,
        report_uri=f"{samples.FOLDER}/report.html",
        report_url="https://storage.cloud.google.com/bucket/report.html",
        warnings=["Retires soon."],
    )
    assert (record.kind, record.outcome, record.title, record.reasons) == (
        "retraining",
        "promoted",
        "Promoted",
        ["Enough."],
    )
    assert record.is_promoted
    assert record.seconds == pytest.approx(6911.5)
    assert (record.model, record.compared_model) == (f"{PLACE}/models/99@3", f"{PLACE}/models/99@2")
    assert record.model_version == "99@3"
    assert (record.job, record.job_state) == (f"{PLACE}/tuningJobs/4711", "JOB_STATE_SUCCEEDED")
    assert record.base_model == "gemini-3.1-flash-lite"
    assert record.value == "sample.exact_share"
    assert record.score
    assert (record.score.value, record.score.examples) == (0.85, 200)
    assert record.score.lower == pytest.approx(0.794, abs=0.001)
    assert record.champion_score
    assert record.champion_score.value == 0.9
    assert record.baseline_score
    assert record.baseline_score.value == 0
    assert record.gain
    assert record.gain.better == 10
    assert (record.validation_loss, record.overfitting) == (0.51, True)
    assert record.cost == pytest.approx(0.578532)
    assert (record.currency, record.is_estimate) == ("USD", False)
    assert record.tokens == 192844
    assert (record.examples, record.epochs, record.adapter_size, record.learning_rate_multiplier) == (520, 4, 16, 1.0)
    assert record.warnings == ["Retires soon."]
    assert record.report_uri.endswith("/report.html")
    assert record.report_url.startswith("https://")
    assert record.run_url.startswith("http://localhost:8080/")


def test_a_run_whose_dataset_is_refused_is_recorded_with_its_error() -> None:
    record = record_of(samples.nothing())
    assert (record.outcome, record.model, record.job, record.score, record.cost) == ("failed", "", "", None, None)
    assert record.reasons == ["training.jsonl, line 3: not JSON"]


def test_the_record_of_a_sweep_has_the_number_and_the_cost_of_all_candidates() -> None:
    candidates = [
        CandidateResult(index=index, settings={"epoch_count": 4}, state="succeeded", billed_tokens=192844.0)
        for index in range(3)
    ]
    metrics = samples.metrics(samples.series())
    selection = msgspec.convert(
        {**metrics, "selected": 0, "candidates": msgspec.to_builtins(candidates)}, SelectionResult
    )
    record = record_of(msgspec.structs.replace(samples.material(), selection=selection))
    assert (record.candidates, record.tokens) == (3, 3 * 192844)
    assert record.cost == pytest.approx(3 * 0.578532)
    assert record_of(samples.material()).candidates == 1


def test_a_rollback_is_recorded_with_both_models() -> None:
    states: dict[str, str | None] = dict.fromkeys(("find_previous", "smoke_test", "roll_back"), "success")
    previous = ModelDescription(model=f"{PLACE}/models/99@1", endpoint=f"{PLACE}/endpoints/5")
    given = msgspec.structs.replace(
        samples.nothing(),
        tasks={Role(role): task for role, task in ROLLBACK_TASKS.items()},
        states=states,
        errors={},
        previous=PreviousResult(champion=f"{PLACE}/models/99@2", previous=previous),
    )
    record = record_of(given)
    assert (record.kind, record.outcome) == ("rollback", "rolled_back")
    assert (record.model, record.compared_model) == (previous.model, f"{PLACE}/models/99@2")


def test_hostile_texts_become_plain_and_short_and_links_are_left_out() -> None:
    given = samples.hostile()
    given.run_url = "javascript:alert(1)"
    record = record_of(given, report_url="data:text/html,x", report_uri="file:///etc/passwd", warnings=["W" * 9000])
    assert (record.run_url, record.report_url, record.report_uri) == ("", "", "")
    assert all(len(reason) <= 500 for reason in (*record.reasons, *record.warnings))


def test_secrets_in_errors_are_not_recorded() -> None:
    given = samples.nothing()
    given.errors[Role.UPLOAD] = "Cannot open https://ada:secret@host/data.csv?sig=secret"
    assert "secret" not in record_of(given).reasons[0]


def test_numbers_that_are_not_finite_are_left_out() -> None:
    evaluated = samples.compared_evaluation()
    evaluated["comparison"]["gain"]["lower"] = math.nan
    evaluated["comparison"]["values"]["sample.exact_share"]["champion"] = math.inf
    given = samples.material(evaluation=evaluated)
    assert given.metrics
    given.metrics.values["eval_total_loss.last"] = math.nan
    record = record_of(given)
    assert (record.gain, record.champion_score, record.validation_loss) == (None, None, None)


@pytest.mark.parametrize(
    "changed",
    [
        {"run_url": "javascript:alert(1)"},
        {"report_url": "https://a b"},
        {"report_uri": "https://host"},
        {"title": "\x1b[31mred"},
        {"title": "T" * 129},
        {"reasons": ["ok", "two\nlines"]},
        {"reasons": ["ok"] * 11},
        {"ended": "yesterday"},
        {"ended": "2026-03-02T05:00:00"},
        {"key": "../index"},
        {"tuning": "A tuning"},
        {"outcome": "won"},
        {"tokens": -1},
        {"score": {"value": "much"}},
    ],
)
def test_a_record_that_is_not_plain_short_and_typed_is_refused(changed: dict[str, Any]) -> None:
    fields = msgspec.to_builtins(record_of(samples.material()))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**fields, **changed}, RunRecord)


def test_a_record_tells_the_same_whenever_it_is_written() -> None:
    given = samples.material()
    record = record_of(given)
    later = record_of(msgspec.structs.replace(given, created="2026-04-01T00:00:00+00:00"))
    assert record.tells_the_same(later)
    assert not record.tells_the_same(msgspec.structs.replace(later, outcome="refused"))
