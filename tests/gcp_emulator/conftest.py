from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator_fixture import running_emulator
from tests.gcp_emulator.jobs import VALIDATION, finished, upload_datasets
from tests.gcp_emulator.vertex import Vertex


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
