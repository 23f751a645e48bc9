"""The examples run, against the local Google Cloud; Airflow reads them only after they were copied."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import airflow.models.dagrun
import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, DagBag, sync_bag_to_db
from airflow.models.asset import AssetEvent, AssetModel
from airflow.providers.google.cloud.transfers.bigquery_to_gcs import BigQueryToGCSOperator
from airflow.sdk import DAG
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1
from sqlalchemy import select
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.registry.aliases import CHAMPION

from tests.support.emulator import upload
from tests.support.google_cloud import LOCATION, PROJECT, TRAINING, VALIDATION, spec
from tests.support.lineage import aliases, train
from tests.support.tasks import execute

PROMOTION = '''
"""Stands for a retraining whose model was promoted."""

from airflow.sdk import DAG, Asset, task

MODEL = Asset("support_triage_model")

with DAG("promotes", schedule=None) as dag:

    @task(outlets=[MODEL])
    def promote(outlet_events=None):
        outlet_events[MODEL].extra = {"model": MODEL_NAME, "endpoint": ENDPOINT}

    promote()
'''
Example = Callable[[str], DAG]


@pytest.fixture
def example(
    project_dir: Path, tmp_path: Path, google_cloud: str, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> Example:
    """Copies an example into a DAG folder, as a user does."""
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "bucket")
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)

    def copy(name: str) -> DAG:
        path = shutil.copy(project_dir / "dags" / "examples" / f"{name}.py", tmp_path)
        return load(Path(path))

    return copy


def load(path: Path) -> DAG:
    """The only DAG of a file, which is known to Airflow's database."""
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(path), bundle_path=path.parent, bundle_name="dags-folder")
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    [dag] = bag.dags.values()
    return dag


def run(dag: DAG, **conf: Any) -> Callable[[str], Any]:
    """Run a DAG to its success.

    :returns: a function that gives a task's result
    """
    dag_run = dag.test(run_conf=conf)
    instances = {instance.task_id: instance for instance in dag_run.get_task_instances()}
    assert str(dag_run.state) == "success", {name: str(instance.state) for name, instance in instances.items()}
    return lambda task_id: instances[task_id].xcom_pull(task_ids=task_id)


def test_airflow_reads_no_example_where_it_is_shipped(project_dir: Path) -> None:
    files = {Path(dag.fileloc).parent.name for dag in DagBag(dag_folder=str(project_dir / "dags")).dags.values()}
    assert files == {"dags"}


def test_every_example_has_a_test(project_dir: Path) -> None:
    names = {path.stem for path in (project_dir / "dags" / "examples").glob("*.py")}
    tests = Path(__file__).read_text()
    assert {name for name in names if f'"{name}' not in tests} == set()


def test_each_step_alone_makes_a_model_that_is_in_use(example: Example) -> None:
    conf = {"training_data": TRAINING, "validation_data": VALIDATION, "epoch_count": 6}
    result = run(example("step_by_step"), **conf)
    assert result("get")["name"] == result("create")["name"]
    assert result("create")["name"] in {job["name"] for job in result("list")}
    assert result("evaluate")["verdict"] == "first"
    assert aliases("example_step_by_step") == {result("promote")["model"]: [CHAMPION]}


def test_a_job_that_was_started_elsewhere_is_awaited(example: Example) -> None:
    job = VertexTuningHook(GoogleConnection(location=LOCATION)).create_tuning_job(spec(), {})
    result = run(example("wait_for_a_job"), job_name=job.name)
    assert result("wait")["state"] == "JOB_STATE_SUCCEEDED"
    assert result("metrics")["values"]["eval_total_loss.last"] > 0


def test_a_sweep_names_its_best_job(example: Example) -> None:
    result = run(example("sweep"), training_uri=TRAINING, validation_uri=VALIDATION, epoch_count=2)
    best = result("find_best")
    assert "/tuningJobs/" in best["job_name"]
    assert best["loss"] > 0


def test_the_new_model_predicts_after_its_promotion(example: Example, tmp_path: Path) -> None:
    model = train("example_promoted", epoch_count=6).tuned_model
    assert model
    producer = tmp_path / "promotes.py"
    names = f"\nMODEL_NAME, ENDPOINT = {model.model!r}, {model.endpoint!r}\n"
    producer.write_text(PROMOTION + names)
    consumer = example("predict_with_promoted_model")
    run(load(producer))
    prompt = "My card is late, message 3."
    found = run(consumer, prompts=[prompt])("predict")
    assert found == {"model": model.model, "responses": {prompt: "late"}}


def test_a_file_that_arrives_is_trained_on(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    dag = example("train_with_new_files")
    create = airflow.models.dagrun.get_or_create_dagrun

    def create_by_event(**arguments: Any) -> Any:
        """What the scheduler does with the event of the trigger, whose messages are tested with a stand-in."""
        dag_run, session = create(**arguments), arguments["session"]
        asset = session.scalars(select(AssetModel).where(AssetModel.name == "example_new_files")).one()
        extra = {"from_trigger": True, "payload": {"messages": 1, "objects": [TRAINING]}}
        dag_run.consumed_asset_events.append(AssetEvent(asset_id=asset.id, extra=extra))
        session.commit()
        return dag_run

    monkeypatch.setattr(airflow.models.dagrun, "get_or_create_dagrun", create_by_event)
    result = run(dag)
    assert result("upload")["training"]["rows"] == 120
    assert result("train")["state"] == "JOB_STATE_SUCCEEDED"


def test_the_export_names_a_file_that_the_upload_takes(
    example: Example, google_cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BigQuery's export is Airflow's own operator; here a file appears in its place."""
    exported = []

    def write(operator: BigQueryToGCSOperator, context: Any) -> None:
        [uri] = operator.destination_cloud_storage_uris
        upload(google_cloud, uri, [{"prompt": f"message {number}", "response": "late"} for number in range(30)])
        exported.append(uri)

    monkeypatch.setattr(BigQueryToGCSOperator, "execute", write)
    run(example("export_training_data"))
    [uri] = exported
    assert uri.startswith("gs://bucket/exports/")
    uploaded = execute(UploadDatasetOperator(task_id="upload", training_data=uri, bucket="bucket", location=LOCATION))
    assert uploaded["training"]["rows"] == 30


def test_any_program_finds_the_model_in_use(project_dir: Path, google_cloud: str) -> None:
    model = train("example_program", epoch_count=6).tuned_model
    assert model
    RegistryHook(GoogleConnection(location=LOCATION)).merge_aliases(model.model, [CHAMPION])
    program = runpy.run_path(str(project_dir / "dags" / "examples" / "model_in_use.py"))
    registry = aiplatform_v1.ModelServiceClient(
        transport="rest", client_options={"api_endpoint": google_cloud}, credentials=AnonymousCredentials()
    )
    parent = f"projects/{PROJECT}/locations/{LOCATION}"
    endpoint = program["find_endpoint"](registry, parent, "example_program")
    assert endpoint == model.endpoint
    with pytest.raises(LookupError, match="never_trained: found no model"):
        program["find_endpoint"](registry, parent, "never_trained")
