"""The GAPIC clients of google-cloud-aiplatform over REST, unmodified."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.aio.credentials import AnonymousCredentials as AsyncCredentials
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1, aiplatform_v1beta1

from include.gcp_emulator.vertex.proto_json import parse
from tests.emulator.jobs import TRAIN, VALIDATION, finished
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("datasets")
ENDED = ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


def options(url: str) -> dict[str, Any]:
    return {
        "transport": "rest",
        "client_options": {"api_endpoint": url},
        "credentials": AnonymousCredentials(),
    }


def job_message(**fields: Any) -> dict[str, Any]:
    size = aiplatform_v1.SupervisedHyperParameters.AdapterSize.ADAPTER_SIZE_TWO
    spec = {
        "training_dataset_uri": TRAIN,
        "validation_dataset_uri": VALIDATION,
        "hyper_parameters": {"epoch_count": 2, "adapter_size": size, "learning_rate_multiplier": 1.5},
    }
    return {"base_model": "gemini-2.5-flash", "supervised_tuning_spec": spec} | fields


@pytest.mark.parametrize("module", [aiplatform_v1, aiplatform_v1beta1])
def test_tuning(emulator: str, module: Any) -> None:
    client = module.GenAiTuningServiceClient(**options(emulator))
    job = client.create_tuning_job(parent=LOCATION, tuning_job=job_message(tuned_model_display_name="by gapic"))
    wait_until(lambda: client.get_tuning_job(name=job.name).state.name in ENDED)
    job = client.get_tuning_job(name=job.name)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    assert job.supervised_tuning_spec.hyper_parameters.epoch_count == 2
    size = job.supervised_tuning_spec.hyper_parameters.adapter_size
    assert size.name == "ADAPTER_SIZE_TWO"
    assert job.tuned_model.checkpoints[0].step > 0
    assert job.tuning_data_stats.supervised_tuning_data_stats.tuning_dataset_example_count == 60
    assert job.end_time > job.start_time > job.create_time
    listed = client.list_tuning_jobs(
        request={"parent": LOCATION, "page_size": 1, "filter": "state=JOB_STATE_SUCCEEDED"}
    )
    assert job.name in [item.name for item in listed]
    client.cancel_tuning_job(name=job.name)
    client.transport.close()


@pytest.mark.parametrize("module", [aiplatform_v1, aiplatform_v1beta1])
async def test_tuning_async(emulator: str, module: Any) -> None:
    client = module.GenAiTuningServiceAsyncClient(
        transport="rest_asyncio", client_options={"api_endpoint": emulator}, credentials=AsyncCredentials()
    )
    job = await client.create_tuning_job(parent=LOCATION, tuning_job=job_message())
    while job.state.name not in ENDED:
        await asyncio.sleep(0.02)
        job = await client.get_tuning_job(name=job.name)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    pager = await client.list_tuning_jobs(parent=LOCATION)
    assert job.name in [item.name async for item in pager]
    with pytest.raises(exceptions.NotFound):
        await client.get_tuning_job(name=f"{LOCATION}/tuningJobs/1")
    await client.transport.close()


@pytest.mark.parametrize("module", [aiplatform_v1, aiplatform_v1beta1])
def test_metrics_by_the_direct_sequence(emulator: str, tuned: dict[str, Any], module: Any) -> None:
    """GetContext, ListContexts, GetTensorboard, GetTensorboardRun, ListTensorboardTimeSeries, BatchRead."""
    metadata = module.MetadataServiceClient(**options(emulator))
    boards = module.TensorboardServiceClient(**options(emulator))
    experiment = metadata.get_context(name=tuned["experiment"])
    assert experiment.schema_title == "system.Experiment"
    board = boards.get_tensorboard(name=experiment.metadata["backing_tensorboard_resource"]).name
    query = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment.name}"'
    parent = experiment.name.split("/contexts/")[0]
    (run,) = metadata.list_contexts(request={"parent": parent, "filter": query})
    experiment_id = experiment.name.rsplit("/", 1)[-1]
    run_id = run.name.rsplit("/", 1)[-1].removeprefix(f"{experiment_id}-")
    run_name = f"{board}/experiments/{experiment_id}/runs/{run_id}"
    assert boards.get_tensorboard_run(name=run_name).display_name == run_id
    series = {item.name: item.display_name for item in boards.list_tensorboard_time_series(parent=run_name)}
    read = boards.batch_read_tensorboard_time_series_data(request={"tensorboard": board, "time_series": list(series)})
    values = {
        series[f"{run_name}/timeSeries/{item.tensorboard_time_series_id}"]: item.values
        for item in read.time_series_data
    }
    assert len(values) == 6
    losses = values["/train_total_loss"]
    assert [point.step for point in losses] == list(range(1, len(losses) + 1))
    assert losses[-1].scalar.value < losses[0].scalar.value
    assert all(point.wall_time.timestamp() > 0 for points in values.values() for point in points)
    for client in (metadata, boards):
        client.transport.close()


def test_reading_and_exporting_one_series(emulator: str, tuned: dict[str, Any], vertex: Vertex) -> None:
    boards = aiplatform_v1.TensorboardServiceClient(**options(emulator))
    board = vertex.ok("GET", tuned["experiment"])["metadata"]["backing_tensorboard_resource"]
    (experiment,) = [
        item
        for item in boards.list_tensorboard_experiments(parent=board)
        if item.name.rsplit("/", 1)[-1] in tuned["experiment"]
    ]
    (run,) = boards.list_tensorboard_runs(parent=experiment.name)
    series = next(iter(boards.list_tensorboard_time_series(request={"parent": run.name, "page_size": 1})))
    assert boards.get_tensorboard_time_series(name=series.name) == series
    points = boards.read_tensorboard_time_series_data(tensorboard_time_series=series.name).time_series_data.values
    exported = boards.export_tensorboard_time_series_data(
        request={"tensorboard_time_series": series.name, "page_size": 7, "order_by": "step"}
    )
    assert [point.step for point in exported] == [point.step for point in points]
    boards.transport.close()


@pytest.mark.parametrize("module", [aiplatform_v1, aiplatform_v1beta1])
def test_registry_to_the_last_deletion(emulator: str, vertex: Vertex, module: Any) -> None:
    job = finished(vertex, hyperParameters={"epochCount": 1})
    models = module.ModelServiceClient(**options(emulator))
    endpoints = module.EndpointServiceClient(**options(emulator))
    name = job["tunedModel"]["model"]
    assert models.get_model(name=name).version_aliases == ["default"]
    merged = models.merge_version_aliases(name=name, version_aliases=["golden"])
    assert list(merged.version_aliases) == ["default", "golden"]
    assert [item.version_id for item in models.list_model_versions(name=name)] == ["1"]
    query = f"labels.google-vertex-llm-tuning-job-id={job['name'].rsplit('/', 1)[-1]}"
    for endpoint in endpoints.list_endpoints(request={"parent": LOCATION, "filter": query}):
        deployed = endpoint.deployed_models[0].id
        endpoints.undeploy_model(endpoint=endpoint.name, deployed_model_id=deployed, traffic_split={}).result(
            timeout=10
        )
        endpoints.delete_endpoint(name=endpoint.name).result(timeout=10)
    models.delete_model(name=name.split("@")[0]).result(timeout=10)
    with pytest.raises(exceptions.NotFound):
        models.get_model(name=name)
    for client in (models, endpoints):
        client.transport.close()


def test_errors_carry_their_details(emulator: str) -> None:
    client: Any = aiplatform_v1.GenAiTuningServiceClient(**options(emulator))
    message = job_message(supervised_tuning_spec={"training_dataset_uri": "gs://datasets/none.jsonl"})
    with pytest.raises(exceptions.BadRequest) as caught:
        client.create_tuning_job(parent=LOCATION, tuning_job=message)
    assert "List of found errors" in str(caught.value)
    assert caught.value.details[0]["fieldViolations"]
    client.transport.close()


def test_rebasing_is_an_operation_the_client_waits_for(emulator: str, vertex: Vertex) -> None:
    client: Any = aiplatform_v1.GenAiTuningServiceClient(**options(emulator))
    old = finished(vertex)
    operation = client.rebase_tuned_model(parent=LOCATION, tuned_model_ref={"tuning_job": old["name"]})
    job = operation.result(timeout=30)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    client.transport.close()


def test_enum_numbers_are_the_clients() -> None:
    sizes: Any = aiplatform_v1.SupervisedHyperParameters.AdapterSize
    for size in sizes:
        hyper = {"supervisedTuningSpec": {"hyperParameters": {"adapterSize": size.value}}}
        parsed = parse("v1", "TuningJob", json.dumps(hyper).encode())
        assert parsed["supervisedTuningSpec"]["hyperParameters"]["adapterSize"] == size.name
