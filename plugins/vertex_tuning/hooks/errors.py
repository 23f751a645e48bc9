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
    PermanentError,
    QuotaExceededError,
    VertexUnavailableError,
    error_of,
)
from vertex_tuning.hooks.credentials import auth_error
from vertex_tuning.plain_text import MESSAGE_SHOWN, plain, without_secrets

_BROKEN_EXCHANGES: Final = (
    httpx.HTTPError,
    requests.RequestException,
    errors.UnknownApiResponseError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""What the clients raise when no answer came or none that can be read."""


@contextlib.contextmanager
def google_errors(doing: str) -> Iterator[None]:
    """Turn what Google's clients raise into this package's errors, which say whether a retry can help.

    :param doing: what was being done, for the message
    """
    # `from None`: the client's own error, which the log would show too, has URLs that are keys and unescaped text.
    try:
        yield
    except errors.APIError as error:
        googles = _is_googles(error)
        # What does not come from Google may be a proxy's whole page.
        said = error.message if googles else plain(str(error.message))
        message = _message(f"While {doing}: {error.code} {error.status}: {said}")
        raise error_of(error.code, message, from_google=googles) from None
    except GoogleAPICallError as error:
        # Cloud Storage refuses downloads in plain text, so that nothing tells its answer from a proxy's.
        message = _message(f"While {doing}: {error.code} {error.message}")
        raise error_of(error.code or 503, message, from_google=True) from None
    except GoogleAuthError as error:
        raise auth_error(error, f"While {doing}") from None
    except (*_BROKEN_EXCHANGES, RetryError, ConnectionError, TimeoutError) as error:
        raise VertexUnavailableError(_message(f"While {doing}: {type(error).__name__}: {error}")) from None


def _message(text: str) -> str:
    return plain(without_secrets(text), MESSAGE_SHOWN)


@contextlib.contextmanager
def creating() -> Iterator[None]:
    """Tell apart why a create failed: refused in Google's own form, refused for lack of quota, or with the answer lost.

    Whatever else goes wrong once the request may have been sent is a lost answer: the job may exist.
    """
    try:
        with google_errors("creating the tuning job"):
            yield
    except PermanentError:
        raise
    except Exception as error:
        if _lacks_quota(error.__context__):
            raise QuotaExceededError(str(error)) from error
        raise LostAnswerError(f"{type(error).__name__}: {error}") from error


def _lacks_quota(error: BaseException | None) -> bool:
    return isinstance(error, errors.APIError) and error.code == httpx.codes.TOO_MANY_REQUESTS and _is_googles(error)


def _is_googles(error: errors.APIError) -> bool:
    """Whether an error has the form of Google's own, which a proxy's has not."""
    return isinstance(error.details, dict) and isinstance(error.details.get("error"), dict)
