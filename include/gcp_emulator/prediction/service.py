"""Prediction: tuned models respond through their endpoints, base models by name; tokens can be counted for any model.

Fields that the small model does not need (tools, safety settings, thinking, penalties, log-probabilities) are checked
for their type and ignored.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Protocol

import anyio.to_thread
import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute

from ..errors import FailedPrecondition, InvalidArgument
from ..model.engine import Model
from ..model.sampling import Answer, write
from ..names import timestamp
from ..state import Resource
from ..vertex.proto_json import present
from ..vertex.rest import name_of, query, read, reply, version_of, vertex_route
from . import token_counts
from .base_engine import base_engine
from .generation_request import GenerationRequest

_ENDPOINT: Final = "endpoints/{endpoint:id}"
_PUBLISHER_MODEL: Final = "publishers/google/models/{model:id}"
_CACHED_MODELS: Final = 4


class Registry(Protocol):
    """The methods of the registry that prediction needs."""

    def endpoint(self, name: str) -> Resource:
        """The endpoint.

        :raises NotFound: it does not exist
        """

    def weights_of_endpoint(self, endpoint_name: str) -> Path:
        """The weights that an endpoint serves.

        :raises NotFound: it does not exist
        :raises FailedPrecondition: it serves no weights
        """


class PredictionService:
    """PredictionService and LlmUtilityService over a registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            *self._endpoint_routes(),
            vertex_route("POST", _PUBLISHER_MODEL + ":countTokens", self.count, "publishers.models.countTokens"),
            vertex_route("POST", _PUBLISHER_MODEL + ":computeTokens", self.compute, "publishers.models.computeTokens"),
            *self._generating_routes(_PUBLISHER_MODEL, "publishers.models"),
            *_refusing("models/{model:id}", malformed, "models"),
        ]

    def _generating_routes(self, path: str, methods: str) -> list[BaseRoute]:
        stream = self.stream_generate_content
        return [
            vertex_route("POST", f"{path}:generateContent", self.generate_content, f"{methods}.generateContent"),
            vertex_route("POST", f"{path}:streamGenerateContent", stream, f"{methods}.streamGenerateContent"),
        ]

    def _endpoint_routes(self) -> list[BaseRoute]:
        return [
            *self._generating_routes(_ENDPOINT, "endpoints"),
            vertex_route("POST", _ENDPOINT + ":countTokens", self.count_of_endpoint, "endpoints.countTokens"),
            vertex_route("POST", _ENDPOINT + ":computeTokens", self.compute_of_endpoint, "endpoints.computeTokens"),
        ]

    async def generate_content(self, request: Request) -> Response:
        generation = await self._generation(request)
        response = await anyio.to_thread.run_sync(generation.response)
        return reply(request, "GenerateContentResponse", response)

    async def stream_generate_content(self, request: Request) -> Response:
        """Server-sent events with `alt=sse`, otherwise a JSON array."""
        generation = await self._generation(request)
        show = partial(present, version_of(request), "GenerateContentResponse")
        chunks = (json.dumps(show(chunk)) for chunk in generation.chunks())
        if query(request, "alt") == "sse":
            return StreamingResponse((f"data: {chunk}\r\n\r\n" for chunk in chunks), media_type="text/event-stream")
        return StreamingResponse(_array(chunks), media_type="application/json")

    async def _generation(self, request: Request) -> Generation:
        body = await read(request, "GenerateContentRequest")
        model, version = await self._model(request)
        generation = GenerationRequest.of(body)
        details = await anyio.to_thread.run_sync(token_counts.details_of, body)
        return Generation(model, generation, details, version)

    async def _model(self, request: Request) -> tuple[Model, str]:
        """The model that responds, and its name."""
        if base := request.path_params.get("model"):
            return base_engine(base, name_of(request)), base
        endpoint = name_of(request)
        weights = self.registry.weights_of_endpoint(endpoint)
        version = self.registry.endpoint(endpoint)["deployedModels"][0]["model"]
        try:
            return await anyio.to_thread.run_sync(_load, weights), version
        except OSError:
            raise FailedPrecondition(f"The weights of {version} are gone; tune it again.") from None

    async def count(self, request: Request) -> Response:
        body = await read(request, "CountTokensRequest")
        return reply(request, "CountTokensResponse", await anyio.to_thread.run_sync(token_counts.counted, body))

    async def compute(self, request: Request) -> Response:
        body = await read(request, "ComputeTokensRequest")
        return reply(request, "ComputeTokensResponse", await anyio.to_thread.run_sync(token_counts.computed, body))

    async def count_of_endpoint(self, request: Request) -> Response:
        self.registry.endpoint(name_of(request))
        return await self.count(request)

    async def compute_of_endpoint(self, request: Request) -> Response:
        self.registry.endpoint(name_of(request))
        return await self.compute(request)


class Generation:
    """The answer to one request.

    :param prompt_details: tokens of the prompt by modality
    :param version: the model that responds
    """

    def __init__(self, model: Model, request: GenerationRequest, prompt_details: list[Resource], version: str) -> None:
        self._model, self._request, self._prompt_details = model, request, prompt_details
        self._common = {
            "modelVersion": version,
            "responseId": secrets.token_urlsafe(16),
            "createTime": timestamp(),
        }
        seed = secrets.randbits(63) if request.seed is None else request.seed % 2**63
        self._random = [np.random.default_rng([seed, index]) for index in range(request.candidates)]
        self._written = 0

    def response(self) -> Resource:
        """The whole answer at once."""
        candidates = []
        for index in range(self._request.candidates):
            answer = Answer()
            text = "".join(self._texts(index, answer))
            candidates.append(self._candidate(index, text, answer))
        return self._common | {"candidates": candidates, "usageMetadata": self._usage()}

    def chunks(self) -> Iterator[Resource]:
        """The answer in chunks. A candidate's last chunk has the finish reason, the last of all the token counts."""
        for index in range(self._request.candidates):
            answer, held = Answer(), ""
            for text in self._texts(index, answer):
                if held:
                    yield self._common | {"candidates": [self._candidate(index, held)]}
                held = text
            last = self._common | {"candidates": [self._candidate(index, held, answer)]}
            yield last | ({"usageMetadata": self._usage()} if index == self._request.candidates - 1 else {})

    def _texts(self, index: int, answer: Answer) -> Iterator[str]:
        texts = write(self._model, self._request.prompt, self._request.sampling, self._random[index], answer)
        yield from [_as_json("".join(texts))] if self._request.as_json else texts
        self._written += len(answer.log_probs)

    @staticmethod
    def _candidate(index: int, text: str, answer: Answer | None = None) -> Resource:
        candidate: Resource = {"index": index, "content": {"role": "model", "parts": [{"text": text}]}}
        if answer is not None:
            candidate |= {"finishReason": answer.finish, "avgLogprobs": answer.average_log_prob}
        return candidate

    def _usage(self) -> Resource:
        prompt = token_counts.total(self._prompt_details)
        return {
            "promptTokenCount": prompt,
            "candidatesTokenCount": self._written,
            "totalTokenCount": prompt + self._written,
            "promptTokensDetails": self._prompt_details,
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": self._written}],
            "trafficType": "ON_DEMAND",
        }


def _load(weights: Path) -> Model:
    return _loaded(weights, weights.stat().st_mtime_ns)


@lru_cache(maxsize=_CACHED_MODELS)
def _loaded(weights: Path, modified: int) -> Model:  # noqa: ARG001 - a file that was written again is another model
    return Model.load(weights)


def _as_json(text: str) -> str:
    """The text if it is JSON, else the text as a JSON string."""
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return json.dumps(text)
    return text


def _array(chunks: Iterator[str]) -> Iterator[str]:
    """A JSON array of the chunks, item by item."""
    yield "["
    for place, chunk in enumerate(chunks):
        yield f",\r\n{chunk}" if place else chunk
    yield "]"


def _refusing(path: str, handler: Any, methods: str) -> list[BaseRoute]:
    return [
        vertex_route("POST", f"{path}:{method}", handler, f"{methods}.{method}")
        for method in ("generateContent", "streamGenerateContent")
    ]


async def malformed(request: Request) -> Response:
    """The refusal of a model instead of its endpoint; wording of https://github.com/googleapis/python-genai/issues/1679."""
    raise InvalidArgument(
        f"The Model name {name_of(request)} is malformed and it should be in form of "
        "projects/{project}/locations/{location}/publishers/google/models/{model}"
    )
