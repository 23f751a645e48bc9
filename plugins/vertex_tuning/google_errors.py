"""What Google's clients raise, as this package's errors, which say whether a retry can help."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Final

import httpx
import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.genai import errors

from vertex_tuning.exceptions import (
    LostAnswerError,
    QuotaExceededError,
    VertexUnavailableError,
    error_of,
)
from vertex_tuning.light_connection import auth_error

_BROKEN_EXCHANGES: Final = (
    httpx.HTTPError,
    requests.RequestException,
    errors.UnknownApiResponseError,
    json.JSONDecodeError,
)
"""What the clients raise when no answer came or none that can be read."""


@contextlib.contextmanager
def google_errors(doing: str) -> Iterator[None]:
    """Turn what Google's clients raise into this package's errors, which say whether a retry can help.

    :param doing: what was being done, for the message
    """
    try:
        yield
    except errors.APIError as error:
        told = isinstance(error.details, dict) and "error" in error.details
        said = error.message if told else str(error.message)[:500]
        raise error_of(error.code, f"While {doing}: {error.code} {error.status}: {said}", from_google=told) from error
    except GoogleAPICallError as error:
        # Cloud Storage refuses downloads in plain text, so that nothing tells its answer from a proxy's.
        raise error_of(error.code or 503, f"While {doing}: {error.code} {error.message}", from_google=True) from error
    except GoogleAuthError as error:
        raise auth_error(error, f"While {doing}") from error
    except (*_BROKEN_EXCHANGES, RetryError, ConnectionError, TimeoutError) as error:
        raise VertexUnavailableError(f"While {doing}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def creating() -> Iterator[None]:
    """Tell apart why a create failed: refused for want of quota, or with the answer lost on the way."""
    try:
        yield
    except VertexUnavailableError as error:
        if isinstance(error.__cause__, errors.APIError) and error.__cause__.code == httpx.codes.TOO_MANY_REQUESTS:
            raise QuotaExceededError(str(error)) from error
        raise LostAnswerError(str(error)) from error
