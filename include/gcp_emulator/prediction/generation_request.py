"""The fields of a generateContent request, checked as the service checks them.

Wording of the refusals as users quote it, e.g. https://github.com/genkit-ai/genkit/issues/1397 (ranges) and
https://github.com/langchain-ai/langchain-google/issues/903 (parts). Ranges:
https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/models/inference
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..errors import InvalidArgument, NotFound, bad_request
from ..model.prompts import Prompt, Turn, text_of
from ..model.sampling import Sampling
from ..state import Resource
from ..vertex.proto_json import quote, snake

ROLES: Final = ("user", "model", "function", "tool")
DATA_KEYS: Final = (
    "text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult"
)  # fmt: skip
MAX_STOP_SEQUENCES: Final = 5
MAX_STOP_LENGTH: Final = 200
JSON: Final = "application/json"
_MIME_TYPES: Final = ("text/plain", JSON)
_UNSUPPORTED: Final = ("responseSchema", "responseJsonSchema", "responseFormat")
# Lowest value, and the first value that is too high.
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "temperature": (0, 2.0001),
    "topP": (0, 1.0001),
    "topK": (1, 2**31),
    "maxOutputTokens": (1, 65_537),
    "candidateCount": (1, 9),
}


@dataclass(frozen=True)
class GenerationRequest:
    """A checked request.

    :param seed: None for a different answer each time
    :param as_json: whether the answer must be JSON
    """

    prompt: Prompt
    sampling: Sampling
    candidates: int
    seed: int | None
    as_json: bool

    @classmethod
    def of(cls, body: Resource) -> GenerationRequest:
        """Parse a request for a prediction.

        :param body: a GenerateContentRequest in canonical form
        :raises InvalidArgument: a field is wrong; the message names it
        :raises NotFound: the request names cached content, which the emulator does not have
        """
        if body.get("cachedContent"):
            raise NotFound(f"Not found: cached content metadata for {quote(body['cachedContent'])}.")
        config = body.get("generationConfig", {})
        _check_config(config)
        return cls(
            prompt=prompt_of(body),
            sampling=_sampling(config),
            candidates=config.get("candidateCount", 1),
            seed=config.get("seed"),
            as_json=config.get("responseMimeType") == JSON,
        )


def prompt_of(body: Resource) -> Prompt:
    """The prompt in `contents` and `systemInstruction`.

    :raises InvalidArgument: `contents` is empty, or has an item that is not a turn
    """
    contents = body.get("contents", [])
    if not contents:
        raise _refused("contents", "Unable to submit request because at least one contents field is required.")
    turns = [_turn(content, f"contents[{place}]") for place, content in enumerate(contents)]
    if not any(turn.text for turn in turns):
        raise _refused("contents", "Unable to submit request because Model input cannot be empty.")
    system = body.get("systemInstruction")
    return Prompt(_turn(system, "system_instruction", any_role=True).text if system else "", tuple(turns))


def _turn(content: Resource, field: str, *, any_role: bool = False) -> Turn:
    role = (content.get("role") or "user").lower()
    if role not in ROLES and not any_role:
        raise _refused(f"{field}.role", "Please use a valid role: user, model.")
    parts = content.get("parts", [])
    if not parts or not all(any(key in part for key in DATA_KEYS) for part in parts):
        message = "it must include at least one parts field, which describes the prompt input."
        raise _refused(f"{field}.parts", f"Unable to submit request because {message}")
    return Turn(role, text_of(content))


def _check_config(config: Resource) -> None:
    for field, (low, high) in _RANGES.items():
        if field in config and not low <= config[field] < high:
            message = (
                f"Unable to submit request because it has a {field} value of {config[field]} but the supported range "
                f"is from {low} (inclusive) to {high} (exclusive). Update the value and try again."
            )
            raise _refused(f"generation_config.{snake(field)}", message)
    stop = config.get("stopSequences", [])
    if len(stop) > MAX_STOP_SEQUENCES or not all(0 < len(text) <= MAX_STOP_LENGTH for text in stop):
        message = f"There may be {MAX_STOP_SEQUENCES} stop sequences of 1 to {MAX_STOP_LENGTH} characters."
        raise _refused("generation_config.stop_sequences", message)
    if config.get("responseMimeType", "text/plain") not in _MIME_TYPES:
        message = f"The response MIME type must be one of {', '.join(_MIME_TYPES)}."
        raise _refused("generation_config.response_mime_type", message)
    for field in _UNSUPPORTED:
        if config.get(field):
            message = "Tuned models of the emulator cannot be held to a schema; leave it out."
            raise _refused(f"generation_config.{snake(field)}", message)


def _sampling(config: Resource) -> Sampling:
    """The settings of the request, and defaults for the others."""
    settings: dict[str, Any] = {
        "temperature": config.get("temperature"),
        "top_p": config.get("topP"),
        "top_k": int(config["topK"]) if "topK" in config else None,
        "max_tokens": min(config.get("maxOutputTokens", Sampling.max_tokens), Sampling.max_tokens),
    }
    chosen = {name: value for name, value in settings.items() if value is not None}
    return Sampling(stop=tuple(config.get("stopSequences", [])), **chosen)


def _refused(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(message, details=[bad_request(field, message)])
