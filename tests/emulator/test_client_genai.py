"""google-genai, unmodified, sync and async, both API versions."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from google.genai import Client, errors, types
from google.oauth2.credentials import Credentials

from tests.emulator.jobs import TRAIN, VALIDATION
from tests.emulator.vertex import Vertex
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("datasets"),
    pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental"),
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
]


def make_client(url: str, version: str | None = None, location: str = "us-central1") -> Client:
    options = types.HttpOptions(base_url=url, api_version=version)
    credentials = Credentials(token="x")
    return Client(vertexai=True, project="my-project", location=location, credentials=credentials, http_options=options)


@pytest.fixture(params=["v1", "v1beta1"])
def client(emulator: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    with make_client(emulator, request.param) as made:
        yield made


DATASET = types.TuningDataset(gcs_uri=TRAIN)


def config(**fields: Any) -> types.CreateTuningJobConfig:
    validation = types.TuningValidationDataset(gcs_uri=VALIDATION)
    given: dict[str, Any] = {
        "epoch_count": 2,
        "tuned_model_display_name": "by genai",
        "validation_dataset": validation,
    } | fields
    return types.CreateTuningJobConfig(**given)


def waited(client: Client, name: str | None) -> types.TuningJob:

    def look() -> types.TuningJob | None:
        job = client.tunings.get(name=name or "")
        return job if job.has_ended else None

    return wait_until(look)


def test_tune_get_generate(client: Client) -> None:
    settings = config(learning_rate_multiplier=2.0, adapter_size="ADAPTER_SIZE_EIGHT", labels={"by": "genai"})
    started = client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=DATASET, config=settings)
    assert started.state is types.JobState.JOB_STATE_PENDING
    job = waited(client, started.name)
    assert job.has_succeeded
    spec = job.supervised_tuning_spec
    assert spec
    assert spec.hyper_parameters
    assert spec.hyper_parameters.adapter_size is types.AdapterSize.ADAPTER_SIZE_EIGHT
    assert spec.hyper_parameters.epoch_count == 2
    assert job.tuning_data_stats
    assert job.tuning_data_stats.supervised_tuning_data_stats
    assert job.tuning_data_stats.supervised_tuning_data_stats.tuning_dataset_example_count == 60
    assert job.tuned_model
    assert job.tuned_model.endpoint
    assert [checkpoint.epoch for checkpoint in job.tuned_model.checkpoints or []] == [1, 2]
    answer = client.models.generate_content(
        model=job.tuned_model.endpoint, contents="My card is stolen, message 1.", config={"temperature": 0}
    )
    assert answer.text == "stolen"


def test_metadata_is_in_v1beta1_alone(emulator: str, tuned: dict[str, Any]) -> None:
    for version, steps in (("v1", None), ("v1beta1", int(tuned["tuningJobMetadata"]["completedStepCount"]))):
        with make_client(emulator, version) as client:
            metadata = client.tunings.get(name=tuned["name"]).tuning_job_metadata
            assert (metadata.completed_step_count if metadata else None) == steps


def test_list_pages_to_the_end(client: Client, vertex: Vertex, tuned: dict[str, Any]) -> None:
    jobs = list(client.tunings.list(config={"page_size": 1, "filter": "tunedModelDisplayName=tuned"}))
    assert tuned["name"] in [job.name for job in jobs]


def test_cancel(client: Client, vertex: Vertex) -> None:
    vertex.client.post("/_internal/lifecycle", json={"displayName": "by genai, held", "manual": True})
    job = client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=DATASET,
        config=config(tuned_model_display_name="by genai, held"),
    )
    client.tunings.cancel(name=job.name or "")
    assert client.tunings.get(name=job.name or "").state is types.JobState.JOB_STATE_CANCELLING
    vertex.client.post(f"/_internal/tuningJobs/{(job.name or '').rsplit('/', 1)[-1]}:advance").raise_for_status()
    job = waited(client, job.name)
    assert job.state is types.JobState.JOB_STATE_CANCELLED
    assert job.error
    assert job.error.code == 1


def test_continuous_tuning(client: Client, tuned: dict[str, Any]) -> None:
    source = tuned["tunedModel"]["model"]
    settings = types.CreateTuningJobConfig(epoch_count=1, pre_tuned_model_checkpoint_id="1")
    job = client.tunings.tune(base_model=source, training_dataset=DATASET, config=settings)
    job = waited(client, job.name)
    assert job.tuned_model
    assert (job.tuned_model.model or "").split("@")[0] == source.split("@")[0]
    assert job.pre_tuned_model
    assert job.pre_tuned_model.checkpoint_id == "1"


def test_models(client: Client, tuned: dict[str, Any]) -> None:
    name = tuned["tunedModel"]["model"].split("@")[0]
    model = client.models.get(model=name)
    assert model.name == name
    assert model.tuned_model_info
    assert model.tuned_model_info.base_model
    updated = client.models.update(model=name, config={"description": "by genai"})
    assert updated.description == "by genai"
    assert name in [item.name for item in client.models.list(config={"query_base": False})]


@pytest.mark.parametrize(
    ("model", "status", "text"),
    [
        ("gemini-9", "INVALID_ARGUMENT", "Base model gemini-9"),
        ("projects/p/locations/l/models/1", "NOT_FOUND", "Model"),
    ],
)
def test_refusals(client: Client, model: str, status: str, text: str) -> None:
    with pytest.raises(errors.ClientError) as caught:
        client.tunings.tune(base_model=model, training_dataset=DATASET, config=config())
    assert caught.value.status == status
    assert text in (caught.value.message or "")


def test_the_global_location_is_refused(emulator: str) -> None:
    with make_client(emulator, location="global") as client, pytest.raises(errors.ClientError) as caught:
        client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=DATASET)
    assert caught.value.status == "FAILED_PRECONDITION"


def test_a_server_error(client: Client, vertex: Vertex) -> None:
    fault = {"method": "tuningJobs.get", "resource": "/tuningJobs/777$", "count": 1, "error": {"code": 503}}
    vertex.client.post("/_internal/faults", json=fault).raise_for_status()
    with pytest.raises(errors.ServerError) as caught:
        client.tunings.get(name="projects/my-project/locations/us-central1/tuningJobs/777")
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_everything_async(emulator: str, version: str) -> None:
    client = make_client(emulator, version).aio
    async with client:
        job = await client.tunings.tune(base_model="gemini-2.5-flash", training_dataset=DATASET, config=config())
        name = job.name or ""
        while not (job := await client.tunings.get(name=name)).has_ended:  # noqa: ASYNC110 - polling is what is tested
            await asyncio.sleep(0.02)
        assert job.has_succeeded
        pager = await client.tunings.list(config={"page_size": 1})
        assert name in [item.name async for item in pager]
        await client.tunings.cancel(name=name)
        assert job.tuned_model
        answer = await client.models.generate_content(
            model=job.tuned_model.endpoint or "", contents="My card is late, message 2.", config={"temperature": 0}
        )
        assert answer.text == "late"


def test_no_warning_but_the_known_one(emulator: str) -> None:
    """Answers carry nothing that the client does not know."""
    with make_client(emulator) as client, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.tunings.list() is not None
