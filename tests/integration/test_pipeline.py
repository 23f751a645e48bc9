"""The pipeline in anyone's DAG."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, XComArg
from vertex_tuning.config.tuning import Promotion, SmokeTest, Tuning
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.operators.report import WriteReportOperator, keep_error
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator
from vertex_tuning.pipeline import Pipeline, tuning_pipeline
from vertex_tuning.results import Role

from tests.integration.conftest import LOCATION, TRAINING, VALIDATION

CASES = [{"prompt": "Where is my card?", "equals": "late"}]


def tuning(**fields: Any) -> Tuning:
    given = {
        "name": "cards",
        "base_model": "gemini-3.1-flash-lite",
        "training_data": "gs://data/train.jsonl",
        "validation_data": "gs://data/validation.jsonl",
        "bucket": "bucket",
        "smoke_test": SmokeTest(cases=CASES),
    }
    return Tuning(**{**given, **fields})


def pipeline(ask_cases: Any = True, **fields: Any) -> Pipeline:
    return tuning_pipeline(tuning(**fields), ask_cases=ask_cases)


ASKED = Promotion(require_approval=True, approval_hours=1)


def alarm(context: Any) -> None:
    """Somebody's own callback."""


def test_the_dags_own_callbacks_stay() -> None:
    with DAG("d", schedule=None, default_args={"on_failure_callback": alarm}):
        made = pipeline(promotion=ASKED)
    assert made.approve_model
    for task in (made.upload_dataset, made.approve_model, made.promote_model):
        assert list(task.on_failure_callback) == [alarm, keep_error]


def test_in_a_task_group_every_task_reads_from_the_others_of_its_group() -> None:
    with DAG("d", schedule=None) as dag:
        made = tuning_pipeline(tuning(), group_id="nightly")
    assert all(task_id.startswith("nightly.") for task_id in dag.task_ids)
    [(read, field)] = XComArg.iter_xcom_references(made.wait_for_tuning_job.job_name)
    assert (read.task_id, field) == ("nightly.create_tuning_job", "name")
    report, cancel = dag.task_dict["nightly.write_report"], dag.task_dict["nightly.cancel_unfinished_jobs"]
    assert isinstance(report, WriteReportOperator)
    assert report.tasks[Role.EVALUATION] == "nightly.evaluate_model"
    assert isinstance(cancel, CancelUnfinishedJobsOperator)
    assert cancel.created_by == "nightly.create_tuning_job"


def test_what_is_known_of_a_tuning_goes_onto_its_job() -> None:
    with DAG("d", schedule=None):
        made = pipeline(labels={"team": "cards"})
    assert made.create_tuning_job.labels == {"team": "cards", "airflow-tuning": "cards"}
    assert made.create_tuning_job.dataset_hash == made.upload_dataset.output["rows_hash"]


def test_each_task_that_can_create_a_job_has_the_budget() -> None:
    with DAG("d", schedule=None):
        made = pipeline(budget={"max_cost_per_30_days": "{{ params.month }}", "on_budget": "skip"})
    for task in (made.create_tuning_job, made.wait_for_tuning_job):
        assert (task.max_cost_per_30_days, task.on_budget) == ("{{ params.month }}", "skip")
        assert "max_cost_per_30_days" in task.template_fields
    assert made.create_tuning_job.cost == made.upload_dataset.output["cost"]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"smoke_test": {"cases": [{"prompt": "?", "equls": "x"}]}}, "did you mean `equals`?"),
    ({"smoke_test": {"cases": ({"prompt": "?", "equls": "x"},)}}, "did you mean `equals`?"),
    ({"smoke_test": {"cases": "Where is my card?"}}, "smoke_test.cases: found 'Where is my card?', expected a list."),
    ({"smoke_test": {"cases": {"prompt": "?"}}}, "smoke_test.cases: found {'prompt': '?'}, expected a list."),
    ({"evaluation": {"sample_size": -1}}, "evaluation.sample_size: found -1, expected 0 or more."),
    ({"evaluation": {"sample_size": "many"}}, "sample_size: found 'many', expected a whole number."),
    ({"evaluation": {"sample_size": 0}}, "promotion.rule.value: found 'sample.exact_share', expected"),
    ({"evaluation": {"generation_config": {"heat": 1}}}, "evaluation.generation_config: found"),
    ({"smoke_test": {"cases": CASES, "sample_size": 9}}, "unknown field; did you mean `evaluation.sample_size`?"),
    (
        {"evaluation": {"baseline": False}, "gates": [{"value": "sample.gain_over_base", "min": 0}]},
        "gates[0].value: found 'sample.gain_over_base', expected evaluation.baseline: true",
    ),
    ({"smoke_test": {"cases": CASES, "min_pass_share": 80}}, "min_pass_share: found 80, expected 1 or less."),
    ({"smoke_test": {"cases": CASES, "min_pass_share": "all"}}, "min_pass_share: found 'all', expected a number."),
    ({"smoke_test": {"cases": CASES, "timeout": 5}}, "smoke_test.timeout: unknown field;"),
    ({"validation_data": None}, "promotion.rule.value: found 'sample.exact_share', expected test_data"),
    ({"gates": [{"value": "eval_totl_loss.last", "max": 1}]}, "mean `eval_total_loss.last`?"),
    (
        {
            "validation_data": None,
            "gates": [{"value": "eval_total_loss.last", "max": 1}],
            "promotion": {"rule": {"value": "smoke.pass_share"}},
        },
        "gates[0].value: found 'eval_total_loss.last', expected validation_data",
    ),
    ({"promotion": {"rule": {"value": "sample.exact_shar"}}}, "did you mean `sample.exact_share`?"),
    (
        {"promotion": {"rule": {"value": "smoke.pass_share", "no_regression": ["refund"]}}},
        "rule.no_regression: found 'refund'",
    ),
    ({"promotion": {"champion_alias": "Champion"}}, "champion_alias: found 'Champion', expected 2 to 128"),
    ({"promotion": {"on_refused": "ignore"}}, "promotion.on_refused: found 'ignore', expected 'fail' or 'skip'."),
    ({"promotion": {"approval_hours": "72"}}, "promotion.approval_hours: found '72', expected a number."),
    ({"promotion": {"approval_deadline": 72}}, "promotion.approval_deadline: unknown field;"),
    ({"on_missing_metrics": "skip"}, "on_missing_metrics: found 'skip', expected 'fail' or 'pass'."),
    ({"metrics_timeout_minutes": "long"}, "metrics_timeout_minutes: found 'long', expected a number."),
    ({"metrics_timeout_minutes": "{{ var.value.x }}"}, "metrics_timeout_minutes: found '{{ var.value.x }}', expected"),
    ({"labels": {"Team": "x"}}, "labels: found the key 'Team'"),
    ({"labels": {"team": 5}}, "labels.team: found 5, expected a text."),
    ({"bucket": "gs://data"}, "bucket: found 'gs://data', expected the name of a bucket alone"),
    ({"location": "us-centrl1"}, "location: found 'us-centrl1', no known location: did you mean `us-central1`?"),
    ({"base_model": "gemini-9"}, "base_model: found 'gemini-9', no known base model"),
    ({"training_data": " "}, "training_data: found ' ', expected a text."),
    ({"training_data": "{{ unclosed"}, "training_data: found '{{ unclosed', expected a Jinja template;"),
    ({"hyper_parameters": {"adapter_size": 5}}, "hyper_parameters.adapter_size: found 5, expected one of 1, 2, 4"),
    ({"hyper_parameters": {"epoch_count": "{{ unclosed"}}, "hyper_parameters.epoch_count: found '{{ unclosed'"),
    ({"dataset": {"kind": "preference"}}, "dataset.kind: unknown field;"),
    ({"base_modl": "gemini-2.5-flash"}, "base_modl: unknown field; did you mean `base_model`?"),
]


@pytest.mark.parametrize(("fields", "mistake"), MISTAKES)
def test_a_mistake_is_told_when_the_dag_is_parsed(fields: dict[str, Any], mistake: str) -> None:
    with DAG("d", schedule=None), pytest.raises(ConfigurationError) as error:
        pipeline(**fields)
    assert mistake in str(error.value)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigurationError, match="base_model: found nothing, expected a value"):
        Tuning(name="cards", training_data="x", bucket="bucket", smoke_test=SmokeTest(cases=CASES))


@pytest.mark.parametrize(("given", "asked"), [("yes", True), (1, True), ("No", False), ("{{ x }}", "{{ x }}")])
def test_a_switch_may_be_a_text(given: Any, asked: Any) -> None:
    with DAG("d", schedule=None):
        assert pipeline(ask_cases=given).smoke_test.ask_cases == asked


def test_what_only_a_run_knows_is_left_for_the_run() -> None:
    with DAG("d", schedule=None):
        export = EmptyOperator(task_id="export")
        made = pipeline(
            training_data=export.output,
            validation_data="{{ params.validation_data }}",
            base_model="{{ params.base_model }}",
            hyper_parameters={"epoch_count": "{{ params.epochs }}", "adapter_size": export.output},
            budget={"max_cost": "{{ params.max_cost }}"},
            dataset={"split_seed": "{{ params.seed }}", "columns": {"prompt": "{{ params.prompt }}"}},
            smoke_test={"cases": [{"prompt": "?", "max_latency": "{{ var.value.seconds }}"}]},
            gates=[{"value": "{{ var.value.gate }}", "max": "{{ var.value.limit }}"}],
            promotion={"champion_alias": "{{ var.value.alias }}"},
            bucket="{{ var.value.bucket }}",
            location="{{ var.value.location }}",
            labels={"team": "{{ var.value.team }}", "from": export.output},
        )
    assert made.evaluate_model.gates == [{"value": "{{ var.value.gate }}", "max": "{{ var.value.limit }}"}]
    assert made.upload_dataset.epoch_count == "{{ params.epochs }}"
    assert made.upload_dataset.upstream_task_ids == {"export"}
    assert made.upload_dataset.options == {
        "split_seed": "{{ params.seed }}", "columns": {"prompt": "{{ params.prompt }}", "response": "response"}
    }  # fmt: skip


def test_gates_cases_and_a_rule_may_come_from_another_task_whole() -> None:
    with DAG("d", schedule=None):
        export = EmptyOperator(task_id="export")
        made = pipeline(
            gates="{{ params.gates }}", smoke_test={"cases": export.output}, promotion={"rule": "{{ params.rule }}"}
        )
    assert made.evaluate_model.gates == "{{ params.gates }}"
    assert [task.task_id for task, _ in XComArg.iter_xcom_references(made.smoke_test.cases)] == ["export"]


def test_it_works_twice_in_one_dag() -> None:
    with DAG("d", schedule=None) as dag:
        small = tuning_pipeline(tuning(), group_id="small")
        large = tuning_pipeline(tuning(name="others"), group_id="large")
        pipeline()
    assert {"small.promote_model", "large.promote_model", "promote_model"} <= set(dag.task_ids)
    assert (small.create_tuning_job.labels, large.create_tuning_job.labels) == (
        {"airflow-tuning": "cards"}, {"airflow-tuning": "others"}
    )  # fmt: skip


def test_the_file_of_a_tuning_will_do(project_dir: Path) -> None:
    with DAG("d", schedule=None):
        made = tuning_pipeline(project_dir / "include" / "tunings" / "support_triage.yaml")
    assert made.create_tuning_job.labels == {"team": "support", "airflow-tuning": "support_triage"}
    assert made.upload_dataset.epoch_count == 4


PLACES = ("location", "project_id", "gcp_conn_id", "impersonation_chain")


def places(dag: DAG) -> set[tuple[Any, ...]]:
    """Where the tasks of a DAG work."""
    return {tuple(getattr(task, name) for name in PLACES) for task in dag.tasks}


def test_it_works_where_the_dags_default_arguments_say() -> None:
    given: dict[str, Any] = {
        "location": "europe-west4",
        "project_id": "a-project",
        "gcp_conn_id": "ours",
        "impersonation_chain": "tuner@a-project.iam.gserviceaccount.com",
    }
    with DAG("d", schedule=None, default_args=given) as dag:
        pipeline()
    assert places(dag) == {tuple(given.values())}
    with DAG("e", schedule=None, default_args={"location": "us-east1"}) as dag:
        there = given.pop("location")
        tuning_pipeline(tuning(location=there), **given)
        given = {"location": there, **given}
    assert places(dag) == {tuple(given.values())}


def test_without_any_it_works_at_the_usual_place() -> None:
    with DAG("d", schedule=None) as dag:
        pipeline()
    assert places(dag) == {("us-central1", None, "google_cloud_default", None)}


MAPPED = f"""
from airflow.sdk import DAG, task_group
from vertex_tuning.config.hyper_parameters import HyperParameters
from vertex_tuning.config.tuning import Promotion, SmokeTest, Tuning
from vertex_tuning.pipeline import tuning_pipeline

@task_group
def retraining(tuning, epoch_count):
    tuning_pipeline(
        Tuning(
            name=tuning,
            base_model="gemini-2.5-flash",
            training_data="{TRAINING}",
            validation_data="{VALIDATION}",
            bucket="bucket",
            smoke_test=SmokeTest(cases=[{{"prompt": "My card is late, message 3.", "equals": "late"}}]),
            hyper_parameters=HyperParameters(epoch_count=epoch_count),
            promotion=Promotion(rule={{"value": "smoke.pass_share"}}),
            metrics_timeout_minutes=0.3,
            location="{LOCATION}",
        ),
    )

with DAG("mapped", schedule=None):
    retraining.expand_kwargs([{{"tuning": "fast", "epoch_count": 6}}, {{"tuning": "slow", "epoch_count": 7}}])
"""


@pytest.mark.timeout(300)
def test_in_a_mapped_task_group_each_instance_makes_its_own_model(
    airflow_db: None, tmp_path: Path, storage: StorageHook
) -> None:
    (tmp_path / "mapped.py").write_text(MAPPED)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(tmp_path), bundle_path=tmp_path, bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    dag_run = bag.dags["mapped"].test()
    instances = dag_run.get_task_instances()
    states = {instance.task_id.partition(".")[2]: str(instance.state) for instance in instances}
    assert {task_id for task_id, state in states.items() if state != "success"} == {"refused", "undecided"}

    def results(task_id: str) -> list[Any]:
        [one] = [found for found in instances if found.task_id == f"retraining.{task_id}" and found.map_index == 0]
        return list(one.xcom_pull(task_ids=f"retraining.{task_id}", map_indexes=[0, 1]))

    jobs, reports, promoted = results("wait_for_tuning_job"), results("write_report"), results("promote_model")
    assert [job["labels"]["airflow-tuning"] for job in jobs] == ["fast", "slow"]
    epochs = [job["supervised_tuning_spec"]["hyper_parameters"]["epoch_count"] for job in jobs]
    assert epochs == [6, 7]
    assert [one["model"] for one in promoted] == [job["tuned_model"]["model"] for job in jobs]
    assert [report["verdict"] for report in reports] == ["first", "first"]
    pages = [storage.read_object(report["report_uri"], 10**7).decode() for report in reports]
    assert [tuning in page for tuning, page in zip(("fast", "slow"), pages, strict=True)] == [True, True]
    assert reports[0]["report_uri"] != reports[1]["report_uri"]


MISSING = [
    ("create_tuning_job", "upload_dataset"),
    ("wait_for_tuning_job", "create_tuning_job"),
    ("collect_metrics", "wait_for_tuning_job"),
    ("smoke_test", "collect_metrics"),
    ("evaluate_model", "smoke_test"),
    ("approve_model", "evaluate_model"),
    ("promote_model", "evaluate_model"),
]


@pytest.mark.parametrize(("task_id", "missing"), MISSING)
def test_a_step_without_a_result_is_named(task_id: str, missing: str) -> None:
    """As when a person has marked it as success."""
    job = {"name": "projects/1/locations/us-central1/tuningJobs/1", "tuned_model": {"model": "m", "endpoint": "e"}}
    upload = dict.fromkeys(("training_uri", "validation_uri", "run_folder", "rows_hash", "manifest_uri"), "x")
    judged = {"verdict": "better", "champion": None}
    left: dict[str, Any] = {
        "upload_dataset": {**upload, "dataset_hash": "x", "epoch_count": 1, "training": {}},
        "create_tuning_job": job,
        "wait_for_tuning_job": job,
        "collect_metrics": {"values": {}, "endpoint": "e", "checkpoint_id": "1"},
        "smoke_test": {"values": {}},
        "evaluate_model": judged,
        missing: None,
    }
    with DAG("d", schedule=None) as dag:
        pipeline(promotion=ASKED)
    task = dag.task_dict[task_id]
    instance = SimpleNamespace(map_index=-1, xcom_pull=lambda task_ids, **_: left.get(task_ids))
    with pytest.raises(ConfigurationError, match=rf"^{missing} has no result; was it marked by hand\?"):
        task.render_template_fields({"ti": instance, "task": task})  # type: ignore[typeddict-item]


def test_a_report_is_written_all_the_same() -> None:
    with DAG("d", schedule=None) as dag:
        pipeline()
    report = dag.task_dict["write_report"]
    assert isinstance(report, WriteReportOperator)
    instance = SimpleNamespace(map_index=-1, xcom_pull=lambda **_: None)
    report.render_template_fields({"ti": instance, "task": report})  # type: ignore[typeddict-item]
    assert not report.run_folder
