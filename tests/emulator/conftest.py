from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.storage import Bucket, Client

from include.gcp_emulator.model.engine import Model
from include.gcp_emulator.model.tokens import END
from include.gcp_emulator.model.trainer import TrainRequest
from include.gcp_emulator.registry.service import RegistryService
from include.gcp_emulator.state import Store
from tests.emulator.jobs import VALIDATION, finished, upload_datasets
from tests.emulator.predictions import Tuned, deployed, trained
from tests.emulator.storage_support import Http, http_bucket, new_name, storage_client
from tests.emulator.training_support import colour_rows, write_rows
from tests.emulator.vertex import Vertex
from tests.support.emulator import one_certificate, running_emulator


@pytest.fixture(scope="session", autouse=True)
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_certificate(tmp_path_factory.mktemp("certificates")):
        yield


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Base URL of a live emulator, shared by the tests."""
    with running_emulator(concurrent_tuning_jobs=4) as url:
        yield url


@pytest.fixture(scope="session")
def vertex(emulator: str) -> Iterator[Vertex]:
    with Vertex(emulator) as made:
        yield made


@pytest.fixture(scope="session")
def datasets(vertex: Vertex) -> None:
    """Small training and validation files in the shared emulator."""
    upload_datasets(vertex)


@pytest.fixture(scope="session")
def tuned(vertex: Vertex, datasets: None) -> dict[str, Any]:
    """A job of the shared emulator that has succeeded, with validation."""
    return finished(vertex, validationDatasetUri=VALIDATION, tunedModelDisplayName="tuned", labels={"team": "a"})


@pytest.fixture
def http(emulator: str) -> Iterator[Http]:
    """A client of the shared emulator, and a bucket of its own."""
    with http_bucket(emulator) as http:
        yield http


@pytest.fixture(scope="module")
def client(emulator: str) -> Iterator[Client]:
    """google-cloud-storage at the shared emulator."""
    with storage_client(emulator) as client:
        yield client


@pytest.fixture
def bucket(client: Client) -> Bucket:
    return client.create_bucket(new_name())


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    """A small job that is done in a moment."""
    output = tmp_path / "out"
    output.mkdir()
    return TrainRequest(
        job="projects/1/locations/l/tuningJobs/1",
        training=write_rows(tmp_path / "training.jsonl", colour_rows(100)),
        validation=write_rows(tmp_path / "validation.jsonl", colour_rows(20, start=1000)),
        method="supervised",
        epochs=3,
        learning_rate_multiplier=1.0,
        adapter_rank=4,
        beta=0.1,
        base_weights=None,
        output_dir=output,
        last_checkpoint_only=False,
        step_seconds=0.0,
        seed=1,
    )


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tuned]:
    folder = tmp_path_factory.mktemp("prediction")
    weights = trained(folder)
    model = Model.load(weights)
    model.save(folder / "changing.npz")
    model.parameters["output_bias"][END] = -1e9
    model.save(folder / "endless.npz")
    store = Store(folder / "data")
    registry = RegistryService(store)
    files = (weights, folder / "changing.npz", folder / "endless.npz", weights)
    endpoint, changing, endless, idle = (deployed(registry, file) for file in files)
    registry.undeploy(idle, registry.endpoint(idle)["deployedModels"][0]["id"])
    store.close()
    with running_emulator(folder / "data") as url:
        yield Tuned(url, endpoint, weights, changing, endless, idle)
