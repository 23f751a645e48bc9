"""An emulator that serves a small model, and calls of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from include.gcp_emulator.base_models import BASE_MODELS
from include.gcp_emulator.model.training import Checkpoint, TrainRequest, train
from include.gcp_emulator.names import canonical
from include.gcp_emulator.registry.service import RegistryService

PARENT = canonical("projects/my-project/locations/us-central1")


PUBLISHER_MODEL = "projects/my-project/locations/us-central1/publishers/google/models/gemini-2.5-flash"


FRENCH = "Answer in French."


ASKED = "Where is my parcel?"


def text(role: str, *parts: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": part} for part in parts]}


def dataset() -> list[dict[str, Any]]:
    """Answers depend on the question, the system instruction and the turns before."""
    rows: list[dict[str, Any]] = []
    for number in range(40):
        for question, english, french in (
            (ASKED, "shipping team", "livraison"),
            ("I was charged twice", "billing team", "facturation"),
        ):
            asked = text("user", f"{question} Case {number}" if number else question)
            rows.append({"contents": [asked, text("model", english)]})
            system: dict[str, Any] = {"systemInstruction": {"parts": [{"text": FRENCH}]}}
            rows.append(system | {"contents": [asked, text("model", french)]})
        talk = [
            text("user", "I am Ana"),
            text("model", "hello Ana"),
            text("user", "who am I"),
            text("model", "you are Ana"),
        ]
        rows.append({"contents": talk})
        rows.append({"contents": [text("user", "who am I"), text("model", "I do not know")]})
        rows.append({"contents": [text("user", "as json please"), text("model", '{"team": "shipping"}')]})
    return rows


@dataclass(frozen=True)
class Tuned:
    """A live emulator that serves a model.

    :param weights: where the model lies
    :param changing: an endpoint whose weights, in `changing.npz` beside them, are a test's to change
    :param endless: an endpoint whose model never ends
    :param idle: an endpoint with nothing deployed
    """

    url: str
    endpoint: str
    weights: Path
    changing: str
    endless: str
    idle: str

    def call(self, method: str, body: Any, *, name: str = "", version: str = "v1", **params: str) -> httpx.Response:
        path = f"{self.url}/{version}/{name or self.endpoint}:{method}"
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(path, content=content, params=params, timeout=60)

    def ok(self, method: str, body: Any, **options: str) -> Any:
        response = self.call(method, body, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def generate(self, asked: str = ASKED, **config: Any) -> Any:
        """The response to one user turn; greedy if not told otherwise."""
        body = {"contents": [text("user", asked)], "generationConfig": {"temperature": 0} | config}
        return self.ok("generateContent", body)

    def refused(self, body: Any, method: str = "generateContent", **options: str) -> Any:
        response = self.call(method, body, **options)
        assert 400 <= response.status_code < 500, response.text
        error = response.json()["error"]
        assert error["code"] == response.status_code
        return error


def answer_of(response: Any) -> str:
    return str(response["candidates"][0]["content"]["parts"][0]["text"])


def trained(folder: Path) -> Path:
    data = folder / "training.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in dataset()))
    request = TrainRequest(
        "job", data, None, "supervised", 8, 1.0, 4, 0.1, None, folder, last_checkpoint_only=True, step_seconds=0, seed=1
    )
    (checkpoint,) = (event for event in train(request) if isinstance(event, Checkpoint))
    return checkpoint.weights


def deployed(registry: RegistryService, weights: Path) -> str:
    """An endpoint that serves the weights."""
    base = BASE_MODELS["gemini-2.5-flash"]
    version = registry.publish_model(PARENT, "tuned", base, {})
    registry.add_checkpoint(version, {"checkpointId": "1", "epoch": "8", "step": "1"}, weights)
    return registry.create_endpoint(version, base)
