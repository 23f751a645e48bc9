"""The report of a run: what it says, and how it is written."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import httpx
import msgspec
import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException
from vertex_tuning.config.tuning import Promotion, SmokeTest, Tuning
from vertex_tuning.datasets.manifest import run_key
from vertex_tuning.deployment import deployment_id
from vertex_tuning.history.run_history import history_folder, read_history
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import (
    ROLLBACK_TASKS,
    TASK_IDS,
    ShowOutcomeOperator,
    VerdictLink,
    WriteReportOperator,
    keep_error,
)
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.pipeline import tuning_pipeline
from vertex_tuning.report import page
from vertex_tuning.report.build import build
from vertex_tuning.report.charts import BUCKETS_DRAWN, charts_of, picture, thin, ticks
from vertex_tuning.report.content import EarlierRun, Report, RunOutcome
from vertex_tuning.report.page import to_html, to_json
from vertex_tuning.resources.resource_urls import object_url
from vertex_tuning.results import Decision

from tests.integration.conftest import PROJECT, TRAINING, VALIDATION
from tests.support import report_samples as samples
from tests.support.tasks import TaskContext, create, execute

OK, REFUSED, FAILED, SKIPPED, NOT_RUN = (
    {"verdict": "better"},
    {"verdict": "refused"},
    "failed",
    "skipped",
    "upstream_failed",
)


TUNING = Tuning(
    name="t",
    base_model="gemini-2.5-flash",
    training_data="x",
    bucket="bucket",
    smoke_test=SmokeTest(cases=[{"prompt": "?"}]),
    promotion=Promotion(rule={"value": "smoke.pass_share"}),
)


# Curves


@pytest.mark.parametrize("count", [1, 2, 2 * BUCKETS_DRAWN, 2 * BUCKETS_DRAWN + 1, 100_000])
def test_a_thinned_curve_keeps_its_spikes_and_ends(count: int) -> None:
    curve = [(step, float(step % 7)) for step in range(1, count + 1)]
    high, low = count // 2, count // 3
    curve[high], curve[low] = (high + 1, 1e6), (low + 1, -1e6)
    thinned = thin(curve)
    assert len(thinned) <= 2 * BUCKETS_DRAWN + 2
    assert {curve[0], curve[-1], curve[high], curve[low]} <= set(thinned)
    assert set(thinned) <= set(curve)
    assert thinned == sorted(thinned)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.137, 2.81), (0.5, 0.5), (0, 0), (-3, 1e9), (1, 100_000), (1e-9, 2e-9), (-5, -5)]
)
def test_ticks_enclose_what_is_drawn_and_are_few(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low + 1e-9 * abs(low)
    assert found[-1] >= high - 1e-9 * abs(high)
    assert 2 <= len(found) <= 8


def test_training_and_validation_of_a_metric_share_a_chart_loss_first() -> None:
    curves = {
        one.name: [(point.step, point.value) for point in one.points] for one in samples.series(steps=40, validations=4)
    }
    charts = charts_of(curves, [], None)
    assert [(chart.title, [line.kind for line in chart.lines]) for chart in charts] == [
        ("Loss", ["training", "validation"]),
        ("Token accuracy", ["training", "validation"]),
    ]
    loss = charts[0]
    assert [value for value in loss.lines[1].values if value is not None] == [
        value for _, value in curves["/eval_total_loss"]
    ]
    assert all(len(line.values) == len(loss.steps) for line in loss.lines)


def test_a_point_that_is_no_number_and_a_single_point_can_be_drawn() -> None:
    [chart] = charts_of({"/train_total_loss": [(5, 1.0), (6, float("nan"))], "/eval_total_loss": []}, [], 5)
    assert "nan" not in str(picture(chart))


# Verdicts


@pytest.mark.parametrize(
    ("states", "evaluation", "outcome", "words"),
    [
        ({}, OK, "promoted", "better than the model in use and has taken its place"),
        ({}, {"verdict": "equal"}, "promoted", "as good as the model in use and has taken its place"),
        ({}, {"verdict": "first"}, "first", "no model in use to compare it with"),
        ({"evaluation": FAILED, "promotion": NOT_RUN}, {**REFUSED, "champion": {"model": "m"}}, "refused", "stays"),
        ({"evaluation": FAILED, "promotion": NOT_RUN}, REFUSED, "refused", "No model was put into use"),
        ({"evaluation": SKIPPED, "promotion": SKIPPED}, REFUSED, "refused", ""),
        ({"evaluation": FAILED, "promotion": NOT_RUN}, None, "failed", "Evaluation failed (evaluate_model)"),
        ({"wait": FAILED, "promotion": NOT_RUN}, None, "failed", "Training failed (wait_for_tuning_job)"),
        ({"promotion": FAILED}, OK, "failed", "Model Registry"),
        ({"create": SKIPPED, "promotion": SKIPPED}, None, "skipped", "Nothing was trained"),
        ({"smoke": SKIPPED, "evaluation": SKIPPED, "promotion": SKIPPED}, None, "refused", "Too few answers"),
        ({"evaluation": SKIPPED, "promotion": SKIPPED}, OK, "skipped", "does not belong to the tuning's smoke test"),
        ({"approval": None, "promotion": None}, OK, "waiting", "A person decides"),
        ({"approval": FAILED, "promotion": NOT_RUN}, OK, "failed", "Approval failed (approve_model)"),
        ({"promotion": "removed"}, OK, "failed", "ended before promote_model"),
        ({"promotion": None}, OK, "failed", "ended before promote_model"),
        ({}, {"verdict": "unchanged"}, "passed", "in use already"),
    ],
)
def test_the_verdict(states: dict[str, Any], evaluation: Any, outcome: str, words: str) -> None:
    given = samples.material(evaluation=evaluation)
    changed = {TASK_IDS[role]: state for role, state in states.items()}
    verdict = build(msgspec.structs.replace(given, states={**given.states, **changed})).verdict
    assert verdict.outcome == outcome
    assert words in verdict.sentence


def decided(answer: str, **fields: Any) -> Decision:
    given = {"by": "Ada", "at": "2026-03-02T07:10:00+00:00", "within": "72 hours", **fields}
    return msgspec.convert({"answer": answer, **given}, Decision)


APPROVED = {TASK_IDS["approval"]: "success"}


@pytest.mark.parametrize(
    ("decision", "champion", "verdict"),
    [
        (
            decided("rejected", reason="It swears."),
            {"model": "m"},
            (
                "rejected",
                "Rejected",
                "Rejected by Ada on 2026-03-02 07:10:00 UTC. The model in use stays.",
                ["Reason given: It swears."],
            ),
        ),
        (
            decided("rejected"),
            None,
            (
                "rejected",
                "Rejected",
                "Rejected by Ada on 2026-03-02 07:10:00 UTC. No model was put into use.",
                [],
            ),
        ),
        (
            decided("undecided", by=""),
            {"model": "m"},
            ("undecided", "No answer", "No answer within 72 hours. The model in use stays.", []),
        ),
    ],
)
def test_rejected_and_not_answered_are_two_outcomes(decision: Decision, champion: Any, verdict: Any) -> None:
    given = samples.material(evaluation={**samples.evaluation(), "champion": champion}, decision=decision)
    states = {**given.states, **APPROVED, TASK_IDS["promotion"]: SKIPPED}
    report = build(msgspec.structs.replace(given, states=states))
    assert msgspec.structs.astuple(report.verdict) == verdict
    assert report.decision == decision
    [approval] = [step for step in report.steps if step.name == "Approval"]
    assert approval.state == decision.answer
    page = to_html(report)
    assert f'<section class="verdict {decision.answer}"' in page
    assert f'<li class="{decision.answer}">' in page


def test_who_approved_is_in_the_report_of_a_promotion() -> None:
    given = samples.material(decision=decided("approved", reason="Looks good."))
    report = build(msgspec.structs.replace(given, states={**given.states, **APPROVED}))
    assert report.verdict.outcome == "promoted"
    assert report.verdict.reasons == ["Approved by Ada on 2026-03-02 07:10:00 UTC.", "Reason given: Looks good."]


def test_every_outcome_has_a_colour_and_a_sign_of_its_own_kind() -> None:
    style = (Path(page.__file__).parent / "style.css").read_text()
    for outcome in get_args(RunOutcome):
        assert re.search(rf"\.{outcome}\b[^{{]*{{[^}}]*--state", style), outcome
        assert outcome in page.SIGNS, outcome
    colours = [
        re.search(rf"\.{one}\b[^{{]*{{ --state: var\((.*?)\)", style) for one in ("refused", "rejected", "undecided")
    ]
    assert len({found[1] for found in colours if found}) == 3


@pytest.mark.parametrize("state", ["skipped", "upstream_failed", None])
def test_a_run_without_a_job_costs_nothing(state: str | None) -> None:
    given = samples.material(job=None, metrics=None, series={}, smoke=None, evaluation=None)
    states = {**given.states, TASK_IDS["create"]: state, TASK_IDS["promotion"]: "skipped"}
    report = build(msgspec.structs.replace(given, states=states))
    assert report.cost
    assert (report.cost.amount, report.cost.billed) == (0.0, None)
    assert "Nothing: this run created no tuning job." in to_html(report)
    assert "0.58" not in to_html(report)


def test_one_thing_has_one_name_on_the_page() -> None:
    text = re.sub(r"<script.*?</script>|<style.*?</style>", "", to_html(build(samples.material())), flags=re.DOTALL)
    assert "Model in use" in text
    assert "New model" in text
    assert not re.search(r"(?i)champion|challenger|the one before", text)


def test_a_run_without_promotion_passes() -> None:
    given = samples.material()
    del given.states[TASK_IDS["promotion"]]
    assert build(given).verdict.outcome == "passed"


def test_a_failed_task_is_named_with_its_error() -> None:
    report = build(samples.nothing())
    assert report.verdict.reasons == ["training.jsonl, line 3: not JSON"]
    parts = (report.dataset, report.metrics, report.gates, report.smoke, report.sample, report.comparison, report.cost)
    assert parts == (None,) * 7


def test_the_service_counting_otherwise_is_a_warning() -> None:
    dataset = build(samples.material()).dataset
    assert dataset
    assert any("520" in warning and "Vertex AI 500" in warning for warning in dataset.warnings)


# The page as text


def test_the_json_is_the_report() -> None:
    for given in (samples.material(), samples.hostile(), samples.nothing()):
        report = build(given)
        assert msgspec.json.decode(to_json(report), type=Report) == report


def test_whole_texts_are_in_page_and_json() -> None:
    report = build(samples.hostile())
    long = "lorem ipsum " * 833 + "end."
    assert long in to_html(report)
    assert long in to_json(report).decode()


def test_the_page_says_all_there_is() -> None:
    page = to_html(build(samples.material()))
    for told in (
        "Promoted", "3 examples are exact duplicates.", "Input tokens", "gemini-3.1-flash-lite",
        '<dd dir="auto">16</dd>',
        "46 min 22 s", "over-fitted from epoch 3", "eval_total_loss.last", "at most 0.6", "expected &#39;cancel&#39;",
        "models/99@2", "must be at least 1 percentage point higher", "Token accuracy",
        "Time in queue", "10 to 19: 90", "192,844 training tokens x USD 3.00", "tuningJobs/4711",
    ):  # fmt: skip
        assert told in page, told


def test_a_large_run_makes_a_small_page_with_the_whole_extremes() -> None:
    given = samples.material(steps=100_000, validations=500)
    given.series["/train_total_loss"].value[77_777] = 99.5
    report = build(given)
    assert report.metrics
    loss = report.metrics.charts[0].lines[0]
    assert (max(value for value in loss.values if value is not None), loss.count) == (99.5, 100_000)
    assert len(to_html(report)) < 400_000


# The operator


def results(**xcoms: Any) -> TaskContext:
    """A context in which tasks have left these results, as `role=result` or `role__key=value`."""
    context = TaskContext()
    kept = {
        (TASK_IDS[name.partition("__")[0]], name.partition("__")[2] or "return_value"): xcoms[name] for name in xcoms
    }
    context["ti"].xcom_pull = lambda task_ids, key, **_: kept.get((task_ids, key))
    states = {TASK_IDS[name.partition("__")[0]]: FAILED if name.endswith("__error") else "success" for name in xcoms}
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    context["ti"].log_url = "http://airflow/dags/dag/runs/run/tasks/write_report"
    return context


def test_the_report_is_written_from_the_whole_files_and_can_be_opened(storage: StorageHook, emulator: str) -> None:
    given, folder = samples.material(), "gs://bucket/runs/whole"
    points = {**samples.metrics(samples.series()), "series": msgspec.to_builtins(given.series)}
    files = {"metrics.json": points, "smoke-test.json": samples.smoke()}
    series_uri, smoke_uri = (
        storage.write_object(f"{folder}/{name}", json.dumps(found).encode(), "application/json")
        for name, found in files.items()
    )
    context = results(
        upload=samples.upload(),
        wait=samples.job(),
        metrics={**samples.metrics(samples.series()), "series_uri": series_uri},
        smoke__answers={"cases": samples.asked(), "result_uri": smoke_uri},
        evaluation__evaluation=samples.evaluation(),
        promotion={"model": "m"},
    )
    operator = WriteReportOperator(task_id="task", run_folder=folder + "/", title="support_triage")
    result = execute(operator, context)
    address = ReportLink().get_link(operator, ti_key=SimpleNamespace())  # type: ignore[arg-type]
    assert result == {
        "verdict": "promoted",
        "title": "Promoted",
        "reasons": [],
        "report_uri": f"{folder}/report.html",
        "report_url": address,
    }
    answer = httpx.get(address)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Cancel it." in answer.text
    report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
    assert report.metrics
    assert report.metrics.charts[0].lines[0].count == 400
    assert {link.label for link in report.links} >= {
        "Run in Airflow",
        "Tuning job",
        "Model",
        "All points of the metrics",
    }


def test_the_report_holds_what_the_tasks_really_return(project_dir: Path, storage: StorageHook) -> None:
    """A model in use and a new one, on the local Google Cloud, with the operators themselves."""
    tuning: dict[str, Any] = {"champion_alias": "reported", "tuning": "reported"}
    labels = {"airflow-tuning": "reported"}
    upload = execute(
        UploadDatasetOperator(
            task_id="u",
            training_data=TRAINING,
            validation_data=VALIDATION,
            bucket="bucket",
            base_model="gemini-2.5-flash",
        )
    )
    runs = [TaskContext(f"reported {number}") for number in (1, 2)]
    old, new = (execute(create(wait_for_completion=True, deferrable=False, labels=labels), run) for run in runs)
    execute(PromoteModelOperator(task_id="p", model=old["tuned_model"]["model"], **tuning))
    folder = upload["run_folder"]
    metrics = execute(CollectMetricsOperator(task_id="m", job_name=new["name"], run_folder=folder))
    asked: dict[str, Any] = {"cases": [{"prompt": "Answer me."}], "sample_uri": VALIDATION, "run_folder": folder}
    smoke = execute(SmokeTestOperator(task_id="s", endpoint=new["tuned_model"]["endpoint"], **asked))
    evaluation = execute(
        EvaluateModelOperator(
            task_id="e",
            job_name=new["name"],
            values={**metrics["values"], **smoke["values"]},
            rule={"value": "sample.exact_share", "confidence": None},
            gates=[{"value": "eval_total_loss.last", "max": 99}],
            baseline=True,
            **asked,
            **tuning,
        )
    )
    context = results(upload=upload, wait=new, metrics=metrics, smoke=smoke, evaluation=evaluation)
    execute(WriteReportOperator(task_id="task", run_folder=folder), context)
    report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
    assert report.verdict.outcome == "passed"
    assert report.dataset
    assert [file.kind for file in report.dataset.files] == ["training", "validation"]
    assert [one.name for one in report.dataset.files[0].distributions] == ["Input tokens", "Output tokens", "Turns"]
    assert report.dataset.files[0].labels
    assert report.metrics
    assert [chart.title for chart in report.metrics.charts] == ["Loss", "Token accuracy"]
    assert len(report.metrics.charts[0].marks) == len(report.metrics.checkpoints) == 2
    assert report.gates
    assert [gate.verdict for gate in report.gates] == ["passed"]
    assert report.smoke
    assert report.smoke.total == 1
    assert report.sample
    assert report.sample.total == 10
    assert report.comparison
    assert report.comparison.champion == old["tuned_model"]["model"]
    assert len(report.comparison.answers) == report.comparison.answered == 11
    assert [bool(pair.reference) for pair in report.comparison.answers].count(True) == 10
    assert report.comparison.baseline == "gemini-2.5-flash"
    assert [pair.baseline is None for pair in report.comparison.answers].count(False) == 10
    assert {fact.name for fact in report.comparison.settings} == {
        "Temperature",
        "Max output tokens",
        "Thinking budget",
    }
    assert report.comparison.file == f"{folder}/evaluation.json"
    assert {"All answers of the smoke test", "All of the evaluation"} <= {link.label for link in report.links}
    [shares] = [row for row in report.comparison.values if row.value == "sample.exact_share"]
    assert None not in (shares.baseline, shares.champion, shares.challenger)
    assert report.cost
    assert "training tokens" in (report.cost.billed or "")


def test_the_sample_of_the_evaluation_is_read_from_its_file(storage: StorageHook) -> None:
    """As in `tuning_pipeline`: the smoke test has cases only, and the XCom of the evaluation has no rows."""
    folder, whole = "gs://bucket/runs/sampled", samples.compared_evaluation()
    uri = storage.write_object(f"{folder}/evaluation.json", json.dumps(whole).encode(), "application/json")
    left = {**whole, "rows": [], "result_uri": uri}
    context = results(smoke=samples.smoke_of_cases(), evaluation__evaluation=left)
    states = {TASK_IDS["smoke"]: "success", TASK_IDS["evaluation"]: "skipped", TASK_IDS["promotion"]: "skipped"}
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    result = execute(WriteReportOperator(task_id="task", run_folder=folder), context)
    assert (result["verdict"], result["title"]) == ("undecided", "Undecided")
    report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
    assert report.sample
    assert (report.sample.passed, report.sample.total) == (170, 200)
    assert report.labels
    assert report.labels.labels == ["billing", "shipping", "account"]
    assert report.comparison
    assert report.comparison.differing == 30


def test_a_smoke_test_that_skipped_itself_is_a_refusal_with_its_answers(storage: StorageHook) -> None:
    context, folder = results(smoke__answers=samples.smoke()), "gs://bucket/runs/refused"
    states = {TASK_IDS[role]: "skipped" for role in ("smoke", "evaluation", "promotion")}
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    assert execute(WriteReportOperator(task_id="task", run_folder=folder), context)["title"] == "Refused"
    report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
    assert report.smoke
    assert report.smoke.total == 2


def links(operator: WriteReportOperator | ShowOutcomeOperator) -> dict[str, str]:
    """The links Airflow shows on the task: those that lead somewhere."""
    found = {link.name: link.get_link(operator, ti_key=SimpleNamespace()) for link in operator.operator_extra_links}  # type: ignore[arg-type]
    return {name: url for name, url in found.items() if url}


def test_the_report_is_there_while_a_person_is_asked_and_says_afterwards_who_decided(storage: StorageHook) -> None:
    folder, evaluation = "gs://bucket/runs/asked", samples.evaluation()
    asking = results(evaluation__evaluation=evaluation)
    states = {TASK_IDS["evaluation"]: "success", TASK_IDS["approval"]: None, TASK_IDS["promotion"]: None}
    asking["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    draft = WriteReportOperator(task_id="draft", run_folder=folder)
    result = execute(draft, asking)
    assert (result["verdict"], result["title"]) == ("waiting", "Waiting for approval")
    assert "A person decides whether the new model is put into use." in httpx.get(result["report_url"]).text
    assert links(draft) == {"Report": result["report_url"], "Verdict: waiting": result["report_url"]}

    decision = msgspec.to_builtins(decided("rejected", reason="It swears."))
    answered = results(evaluation__evaluation=evaluation, approval__decision=decision)
    # The promotion is skipped while the task that asked is about to end.
    states = {TASK_IDS["evaluation"]: "success", TASK_IDS["approval"]: "running", TASK_IDS["promotion"]: "skipped"}
    answered["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    final = WriteReportOperator(task_id="final", run_folder=folder)
    assert execute(final, answered)["report_url"] == result["report_url"]
    told = httpx.get(result["report_url"]).text
    assert "Rejected by Ada on 2026-03-02 07:10:00 UTC." in told
    assert "Reason given: It swears." in told
    assert "<title>Rejected \N{EN DASH} dag</title>" in told
    assert set(links(final)) == {"Report", "Verdict: rejected"}


@pytest.mark.parametrize(
    ("left", "states", "shown"),
    [
        ({"evaluation__evaluation": REFUSED}, {"evaluation": SKIPPED, "promotion": SKIPPED}, "refused"),
        ({}, {"smoke": SKIPPED, "evaluation": SKIPPED, "promotion": SKIPPED}, "refused"),
        ({"approval__decision": "rejected"}, {"approval": "success", "promotion": SKIPPED}, "refused"),
        ({"approval__decision": "undecided"}, {"approval": "success", "promotion": SKIPPED}, "undecided"),
        ({"evaluation__evaluation": OK}, {"evaluation": SKIPPED, "promotion": SKIPPED}, None),  # trained only
        ({}, {"create": SKIPPED, "promotion": SKIPPED}, None),  # nothing has changed
        ({"evaluation__evaluation": OK}, {"evaluation": "success", "promotion": "success"}, "promoted"),
        ({"evaluation__evaluation": {"verdict": "unchanged"}}, {"promotion": "success"}, "promoted"),
    ],
)
def test_an_outcome_shows_in_the_grid(
    left: dict[str, Any], states: dict[str, str], shown: str | None, capfd: Any
) -> None:
    given = {
        name: msgspec.to_builtins(decided(found)) if isinstance(found, str) else found for name, found in left.items()
    }
    context = results(**given)
    known = {TASK_IDS[role]: state for role, state in {**dict.fromkeys(states, None), **states}.items()}
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: known}
    with DAG("d", schedule=None):
        made = tuning_pipeline(TUNING)
    dag = made.promote_model.dag
    for task_id in ("promoted", "refused", "undecided"):
        task = dag.task_dict[task_id]
        assert isinstance(task, ShowOutcomeOperator)
        task.run_folder = "gs://bucket/runs/shown"
        if task_id == shown:
            execute(task, context)
            assert "Report" in links(task)
            continue
        with pytest.raises(AirflowSkipException) as skipped:
            execute(task, context)
        assert str(skipped.value) in capfd.readouterr().out  # said before it is raised


def test_a_failed_promotion_is_no_outcome_that_hides_it() -> None:
    """Airflow takes a run's state from its last tasks: `promoted` passes a failure on, whatever the others show."""
    with DAG("d", schedule=None):
        made = tuning_pipeline(TUNING)
    rules = {
        task_id: made.promote_model.dag.task_dict[task_id].trigger_rule
        for task_id in ("promoted", "refused", "undecided")
    }
    assert rules == {"promoted": "all_success", "refused": "all_done", "undecided": "all_skipped"}


def test_a_rollback_has_a_report_of_its_own(storage: StorageHook) -> None:
    previous = {
        "champion": "projects/1/locations/l/models/8@1",
        "previous": {"model": "projects/1/locations/l/models/7@1"},
    }
    context = TaskContext()
    left = {("find_previous", "return_value"): previous, ("smoke_test", "return_value"): samples.smoke()}
    context["ti"].xcom_pull = lambda task_ids, key, **_: left.get((task_ids, key))
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: dict.fromkeys(ROLLBACK_TASKS.values(), "success")}
    context["ti"].log_url = "http://airflow/dags/dag/runs/run/tasks/write_report"
    operator = WriteReportOperator(task_id="r", refused_folder="gs://bucket/rollbacks", tasks=ROLLBACK_TASKS)
    result = execute(operator, context)
    assert (result["verdict"], result["title"]) == ("rolled_back", "Rolled back")
    told = httpx.get(result["report_url"]).text
    for part in ("Rollback report", "The previous model is in use again.", "models/8@1", "models/7@1", "Cancel it."):
        assert part in told, part
    assert "no such step" not in told
    for part in ('id="dataset"', 'id="curves"', 'id="gates"', 'id="cost"'):
        assert part not in told, part


def test_only_the_runs_own_verdict_is_a_link() -> None:
    assert len({link.xcom_key for link in map(VerdictLink, get_args(RunOutcome))}) == len(get_args(RunOutcome))


def test_a_file_that_is_gone_leaves_the_summary(storage: StorageHook) -> None:
    folder = "gs://bucket/runs/gone"
    metrics = {**samples.metrics(samples.series()), "series_uri": f"{folder}/metrics.json"}
    context = results(wait=samples.job(), metrics=metrics)
    execute(WriteReportOperator(task_id="task", run_folder=folder), context)
    report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
    assert report.metrics
    assert report.metrics.charts[0].lines[0].count == 20


@pytest.mark.parametrize("folder", [None, "", "None"])
def test_without_a_folder_the_task_says_how_the_run_ended(folder: str | None) -> None:
    context = results(upload__error="training.jsonl, line 3: not JSON")
    operator = WriteReportOperator(task_id="task", run_folder=folder)
    result = execute(operator, context)
    assert (result["verdict"], result["reasons"], result["report_uri"]) == (
        "failed", ["training.jsonl, line 3: not JSON"], None
    )  # fmt: skip
    assert ReportLink().get_link(operator, ti_key=SimpleNamespace()) == ""  # type: ignore[arg-type]


def test_a_failed_task_leaves_its_error() -> None:
    context = TaskContext()
    context["exception"] = ValueError("x" * 10_000)
    keep_error(context)  # type: ignore[arg-type]
    assert context.xcoms == {"error": "x" * 8000}


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("", "https://storage.cloud.google.com/b/a%20folder/report.html"),
        ("http://127.0.0.1:8085/", "http://127.0.0.1:8085/storage/v1/b/b/o/a%20folder%2Freport.html?alt=media"),
    ],
)
def test_an_objects_address(endpoint: str, url: str) -> None:
    assert object_url("gs://b/a folder/report.html", endpoint) == url


DAG_FILE = """
from airflow.sdk import DAG
from vertex_tuning.operators.report import WriteReportOperator, keep_error
from vertex_tuning.operators.tuning_job import GetTuningJobOperator

JOB = "projects/test-project/locations/us-central1/tuningJobs/404"

with DAG("reported", default_args={"on_failure_callback": keep_error}):
    create = GetTuningJobOperator(task_id="create_tuning_job", job_name=JOB)
    wait = GetTuningJobOperator(task_id="wait_for_tuning_job", job_name=JOB)
    report = WriteReportOperator(task_id="write_report", refused_folder="gs://bucket/refused")
    create >> wait >> report.as_teardown()
"""


def test_a_run_that_fails_at_its_first_task_is_reported_with_the_tasks_own_words(
    tmp_path: Path, airflow_db: None, storage: StorageHook
) -> None:
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    (tmp_path / "reported.py").write_text(DAG_FILE)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(tmp_path), bundle_path=tmp_path, bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    run = bag.dags["reported"].test()
    assert str(run.state) == "failed"
    uri = f"gs://bucket/refused/{run_key('reported', run.run_id)}/report.json"
    report = msgspec.json.decode(storage.read_object(uri, 10**6), type=Report)
    assert report.verdict.sentence.startswith("Tuning job failed (create_tuning_job).")
    assert "tuningJobs/404" in report.verdict.reasons[0]
    [task] = [one for one in run.get_task_instances() if one.task_id == "write_report"]
    link = task.xcom_pull(task_ids="write_report", key=ReportLink().xcom_key)
    assert "Tuning job failed" in httpx.get(link).text
    states = {step.name: step.state for step in report.steps if step.state != "not in this run"}
    assert states == {"Tuning job": "failed", "Training": "upstream_failed"}


# The history


def recorded(storage: StorageHook, tuning: str) -> list[RunRecord]:
    return read_history(storage, history_folder("bucket", deployment_id(), tuning)).records


def test_a_run_is_added_to_the_history_of_its_tuning_with_its_report(storage: StorageHook) -> None:
    context = results(upload=samples.upload(), wait=samples.job(), promotion={"model": "m"})
    context["dag_run"] = SimpleNamespace(start_date=datetime(2026, 3, 2, tzinfo=UTC))
    arguments: dict[str, Any] = {"run_folder": "gs://bucket/runs/recorded", "tuning": "recorded", "bucket": "bucket"}
    for _ in range(2):  # a retried task adds no second record
        result = execute(WriteReportOperator(task_id="task", **arguments), context)
        [record] = recorded(storage, "recorded")
        assert (record.outcome, record.key) == ("promoted", run_key("dag", "run"))
        assert (record.report_uri, record.report_url) == (result["report_uri"], result["report_url"])
        assert record.run_url == "http://airflow/dags/dag/runs/run"
        assert record.started == "2026-03-02T00:00:00+00:00"


def test_a_connection_that_is_missing_does_not_fail_the_run_for_its_history(
    monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    operator = WriteReportOperator(task_id="task", tuning="t", bucket="bucket", record_experiment=True)
    operator.gcp_conn_id = "missing"
    context = results(create__error="No connection.")
    assert execute(operator, context)["verdict"] == "failed"
    assert "left out of the history" in capfd.readouterr().out


def test_the_report_links_to_the_earlier_runs(storage: StorageHook) -> None:
    folder = "gs://bucket/runs/following"
    operator = WriteReportOperator(task_id="task", run_folder=folder, tuning="following", bucket="bucket")
    urls = []
    for number in range(7):
        context = results(upload=samples.upload(), wait=samples.job(), promotion={"model": "m"})
        context["ti"].run_id = f"run {number}"
        urls.append(execute(operator, context)["report_url"])
    for _ in range(2):  # a report that is written again does not list itself
        report = msgspec.json.decode(storage.read_object(f"{folder}/report.json", 10**7), type=Report)
        assert [run.run_id for run in report.earlier] == ["run 5", "run 4", "run 3", "run 2", "run 1"]
        assert report.earlier[0].url == urls[0]
        page = storage.read_object(f"{folder}/report.html", 10**7).decode()
        assert '<h2 id="earlier">Earlier runs</h2>' in page
        assert "run 5</a>" in page
        execute(operator, context)


def test_hostile_earlier_runs_stay_text() -> None:
    hostile = {"run_id": samples.HOSTILE, "title": samples.HOSTILE, "model": samples.HOSTILE, "value": samples.HOSTILE}
    run = EarlierRun(**hostile, ended="2026-03-02T05:00:00Z", outcome="failed", score=samples.HOSTILE)
    report = build(samples.material())
    assert samples.HOSTILE not in to_html(msgspec.structs.replace(report, earlier=[run]))
    assert "Earlier runs" not in to_html(report)


def test_a_history_that_cannot_be_read_is_left_out_of_the_report(control: Any, capfd: Any) -> None:
    control("faults", method="storage.objects.list", error={"code": 403})
    folder = "gs://bucket/runs/unreadable"
    operator = WriteReportOperator(task_id="task", run_folder=folder, tuning="unreadable", bucket="bucket")
    assert execute(operator, results(upload__error="x"))["report_url"]
    assert "Earlier runs are left out of the report: " in capfd.readouterr().out


def test_a_cleared_run_that_ends_differently_replaces_its_record(storage: StorageHook) -> None:
    operator = WriteReportOperator(
        task_id="task", run_folder="gs://bucket/runs/cleared", tuning="cleared", bucket="bucket"
    )
    execute(operator, results(upload=samples.upload(), create__error="No quota."))
    execute(operator, results(upload=samples.upload(), wait=samples.job(), promotion={"model": "m"}))
    assert [record.outcome for record in recorded(storage, "cleared")] == ["promoted"]


def test_a_run_without_a_folder_is_recorded_all_the_same(storage: StorageHook) -> None:
    operator = WriteReportOperator(task_id="task", tuning="without_folder", bucket="bucket")
    execute(operator, results(upload__error="line 3: not JSON"))
    [record] = recorded(storage, "without_folder")
    assert (record.outcome, record.report_uri, record.reasons) == ("failed", "", ["line 3: not JSON"])


@pytest.mark.parametrize("arguments", [{}, {"tuning": "t"}, {"bucket": "bucket"}, {"tuning": "None", "bucket": ""}])
def test_a_run_without_a_tuning_or_bucket_has_no_history(arguments: dict[str, Any], capfd: Any) -> None:
    execute(WriteReportOperator(task_id="task", **arguments), results(upload__error="x"))
    assert "history" not in capfd.readouterr().out


@pytest.mark.parametrize("arguments", [{"tuning": "../x"}, {"tuning": "T"}, {"bucket": "a/b"}, {"bucket": "missing"}])
def test_a_history_that_cannot_be_written_is_a_warning(arguments: dict[str, Any], capfd: Any) -> None:
    operator = WriteReportOperator(task_id="task", **{"tuning": "t", "bucket": "bucket"} | arguments)
    result = execute(operator, results(upload__error="x"))
    assert result["verdict"] == "failed"
    assert "left out of the history" in capfd.readouterr().out


def test_a_storage_that_is_down_does_not_fail_the_run_for_its_history(control: Any, capfd: Any) -> None:
    control("faults", method="storage.objects.get", error={"code": 403})
    operator = WriteReportOperator(task_id="task", tuning="t", bucket="bucket")
    assert execute(operator, results(upload__error="x"))["verdict"] == "failed"
    assert "left out of the history" in capfd.readouterr().out


def test_a_run_is_recorded_in_the_experiment_of_its_tuning(emulator: str, capfd: Any) -> None:
    operator = WriteReportOperator(task_id="task", tuning="in_experiment", record_experiment=True)
    for _ in range(2):
        execute(operator, results(upload=samples.upload(), wait=samples.job(), promotion={"model": "m"}))
    assert "Experiment: " in capfd.readouterr().out
    contexts = f"{emulator}/v1/projects/{PROJECT}/locations/us-central1/metadataStores/default/contexts"
    query = {"filter": 'schema_title="system.ExperimentRun"'}
    found = httpx.get(contexts, params=query).raise_for_status().json()["contexts"]
    [run] = [context for context in found if "/airflow-in-experiment-run-" in context["name"]]
    assert run["metadata"]["_metrics"]["verdict"] == "promoted"
    assert run["metadata"]["_params"]["dataset_hash"] == "9f2c" * 16
    assert run["metadata"]["_params"]["run_id"] == "run"


def test_an_experiment_that_cannot_be_written_is_a_warning(control: Any, capfd: Any) -> None:
    control("faults", method="contexts.create", error={"code": 403, "message": "Not yours."})
    operator = WriteReportOperator(task_id="task", tuning="refused_experiment", record_experiment=True)
    result = execute(operator, results(upload=samples.upload(), wait=samples.job(), promotion={"model": "m"}))
    assert result["verdict"] == "promoted"
    assert "not recorded in the experiment of refused_experiment: " in capfd.readouterr().out


def test_a_run_without_a_job_is_not_recorded_in_the_experiment(emulator: str) -> None:
    httpx.delete(f"{emulator}/_internal/requests")
    operator = WriteReportOperator(task_id="task", tuning="without_job", record_experiment=True)
    execute(operator, results(upload__error="x"))
    assert "contexts.create" not in httpx.get(f"{emulator}/_internal/requests").json()["counts"]


@pytest.mark.parametrize("on", [True, False])
def test_a_tuning_says_whether_its_runs_are_recorded_in_an_experiment(on: bool) -> None:
    with DAG("recording_experiments", schedule=None) as dag:
        tuning_pipeline(TUNING.model_copy(update={"record_experiment": on}))
    report = dag.task_dict["write_report"]
    assert isinstance(report, WriteReportOperator)
    assert report.record_experiment is on
    assert TUNING.record_experiment is True


def test_the_pipeline_records_its_runs_in_the_history_of_the_tuning() -> None:
    with DAG("recording", schedule=None) as dag:
        tuning_pipeline(TUNING)
    report = dag.task_dict["write_report"]
    assert isinstance(report, WriteReportOperator)
    assert (report.tuning, report.bucket) == ("t", "bucket")


@pytest.mark.parametrize(("state", "outcome"), [("failed", "failed"), ("skipped", "skipped")])
@pytest.mark.parametrize("indexes", [[-1], [0, 1]])
def test_a_run_over_its_budget_says_so(state: str, outcome: str, indexes: list[int]) -> None:
    """Also a sweep, in which no candidate has a job."""
    context, why = TaskContext(), "max_cost_per_30_days: found USD 9.\nUSD 8 on 2026-03-02"
    found = {("create_tuning_job", "over_budget", indexes[-1]): why}
    context["ti"].xcom_pull = lambda task_ids, key, map_indexes, **_: found.get((task_ids, key, map_indexes))
    names = [f"create_tuning_job_{index}" if index >= 0 else "create_tuning_job" for index in indexes]
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: dict.fromkeys(names, state)}
    context["ti"].log_url = "http://airflow/dags/dag/runs/run/tasks/write_report"
    result = execute(WriteReportOperator(task_id="task"), context)
    assert (result["verdict"], result["title"]) == (outcome, "Over the budget")
    assert result["reasons"] == why.splitlines()
