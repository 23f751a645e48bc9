"""countTokens and computeTokens: how long contents are, in the tokens the tuning service counts as well."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ..errors import InvalidArgument, bad_request
from ..model.prompts import text_of
from ..model.tokens import count_tokens, piece_id, pieces
from ..state import Resource
from ..tuning.rows import FILE_TOKENS

_MODALITIES: Final = {"image": "IMAGE", "video": "VIDEO", "audio": "AUDIO", "application": "DOCUMENT"}


def contents_of(body: Resource) -> list[Resource]:
    """All contents of a request, the system instruction first; `instances` of the older form as contents.

    :raises InvalidArgument: the request has no contents
    """
    system = [body["systemInstruction"]] if body.get("systemInstruction") else []
    instances = [{"parts": [{"text": _instance_text(value)}]} for value in body.get("instances", [])]
    contents = [*body.get("contents", []), *instances]
    if not contents:
        message = "Unable to submit request because at least one contents field is required."
        raise InvalidArgument(message, details=[bad_request("contents", message)])
    return [*system, *contents]


def _instance_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def details_of(body: Resource) -> list[Resource]:
    """Tokens of a request by modality, as `promptTokensDetails` has them.

    :raises InvalidArgument: the request has no contents
    """
    counts: Counter[str] = Counter()
    for content in contents_of(body):
        for part in content.get("parts", []):
            modality, tokens = _part_tokens(part)
            counts[modality] += tokens
    return [{"modality": modality, "tokenCount": count} for modality, count in counts.items()]


def _part_tokens(part: Resource) -> tuple[str, int]:
    data = part.get("fileData") or part.get("inlineData")
    if data is None:
        return "TEXT", count_tokens(text_of({"parts": [part]}))
    return _MODALITIES.get(str(data.get("mimeType", "")).partition("/")[0], "TEXT"), FILE_TOKENS


def total(details: Iterable[Resource]) -> int:
    """The sum over all modalities."""
    return sum(detail["tokenCount"] for detail in details)


def counted(body: Resource) -> Resource:
    """A CountTokensResponse."""
    details = details_of(body)
    characters = sum(len("".join(text_of(content).split())) for content in contents_of(body))
    return {"totalTokens": total(details), "totalBillableCharacters": characters, "promptTokensDetails": details}


def computed(body: Resource) -> Resource:
    """A ComputeTokensResponse."""
    return {"tokensInfo": [_tokens_info(content) for content in contents_of(body)]}


def _tokens_info(content: Resource) -> Resource:
    tokens = pieces(text_of(content))
    return {
        "role": content.get("role", "user"),
        "tokens": [base64.b64encode(piece.encode()).decode() for piece in tokens],
        "tokenIds": [str(piece_id(piece)) for piece in tokens],
    }
