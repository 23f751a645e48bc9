"""Translate errors of Google's clients into errors that say whether a retry can help."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError
from google.protobuf.json_format import Error as ProtobufJsonError

from vertex_tuning.exceptions import (
    LostAnswerError,
    PermanentError,
    QuotaExceededError,
    TuningError,
    VertexUnavailableError,
    error_of,
)
from vertex_tuning.hooks.credentials import auth_error
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets

_BROKEN_EXCHANGES: Final = (
    httpx.HTTPError,
    requests.RequestException,
    json.JSONDecodeError,
    UnicodeDecodeError,
    ConnectionError,
    TimeoutError,
)
"""Errors of the clients when no response arrives or the response cannot be read."""

_UNREADABLE: Final = (ProtobufJsonError, AttributeError, TypeError, ValueError, ArithmeticError, RecursionError)
"""Errors of the generated clients for a response of another form: they do not check the fields of an error."""


@contextlib.contextmanager
def google_errors(doing: str) -> Iterator[None]:
    """Translate errors of Google's libraries into errors that say whether a retry can help.

    :param doing: name of the action, for the message
    """
    # `from None`: the client's own error, which the log would show too, has URLs that are keys and unescaped text.
    try:
        yield
    except GoogleAPICallError as error:
        # Cloud Storage refuses downloads in plain text, so that nothing tells its response from a proxy's.
        raise _http_error(doing, error.code, str(error.message), from_google=True) from None
    except GoogleAuthError as error:
        raise auth_error(error, f"While {doing}") from None
    except (*_BROKEN_EXCHANGES, RetryError) as error:
        raise _unavailable(doing, error) from None


@contextlib.contextmanager
def vertex_errors(doing: str) -> Iterator[None]:
    """Translate errors as `google_errors` does, for one call of a generated Vertex AI client and nothing else."""
    with google_errors(doing):
        try:
            yield
        except (GoogleAPICallError, RetryError) as error:
            last = error.cause if isinstance(error, RetryError) else error
            if not isinstance(last, GoogleAPICallError):
                raise _unavailable(doing, last or error) from None
            body = _json_of(last.response)
            # What does not come from Google may be a proxy's whole page.
            message = _message_of(body) or plain(without_secrets(str(last.message)))
            raise _http_error(doing, last.code, message, from_google=_is_googles(body)) from None
        except (TuningError, GoogleAuthError, *_BROKEN_EXCHANGES):
            raise
        except _UNREADABLE as error:
            raise _unavailable(doing, error) from None


@contextlib.contextmanager
def genai_errors(doing: str) -> Iterator[None]:
    """Translate errors as `google_errors` does, for the Gen AI client."""
    from google.genai.errors import APIError, UnknownApiResponseError

    with google_errors(doing):
        try:
            yield
        except APIError as error:
            googles = _is_googles(error.details)
            # What does not come from Google may be a proxy's whole page.
            said = error.message if googles else plain(without_secrets(str(error.message)))
            raise _http_error(doing, error.code, f"{error.status}: {said}", from_google=googles) from None
        except UnknownApiResponseError as error:
            raise _unavailable(doing, error) from None


def _http_error(doing: str, code: int | None, message: str, *, from_google: bool) -> TuningError:
    return error_of(code or 503, _message(f"While {doing}: {code} {message}"), from_google=from_google)


def _unavailable(doing: str, error: BaseException) -> VertexUnavailableError:
    return VertexUnavailableError(_message(f"While {doing}: {type(error).__name__}: {error}"))


def _message(text: str) -> str:
    return plain(without_secrets(text), MESSAGE_SHOWN)


def _json_of(response: Any) -> Any:
    """The JSON body of a response to `requests`; None if it is not JSON, e.g. the page of a proxy."""
    try:
        return response.json() if response is not None else None
    except (ValueError, RecursionError):
        return None


def _is_googles(body: Any) -> bool:
    """Whether an error has the form of Google's errors; errors of a proxy do not."""
    return isinstance(body, Mapping) and isinstance(body.get("error"), Mapping)


def _message_of(body: Any) -> str:
    """The message of an error in Google's form."""
    return str(body["error"].get("message", "")) if _is_googles(body) else ""


@contextlib.contextmanager
def creating() -> Iterator[None]:
    """Classify the error of a create request: refused by Google, refused because of quota, or response lost.

    After the request may have been sent, any other error counts as a lost response: the job may exist.
    """
    try:
        with genai_errors("creating the tuning job"):
            yield
    except PermanentError:
        raise
    except Exception as error:
        if _lacks_quota(error.__context__):
            raise QuotaExceededError(str(error)) from error
        raise LostAnswerError(f"{type(error).__name__}: {error}") from error


def _lacks_quota(error: BaseException | None) -> bool:
    from google.genai.errors import APIError

    return isinstance(error, APIError) and error.code == httpx.codes.TOO_MANY_REQUESTS and _is_googles(error.details)


def genai_status(error: TuningError) -> str:
    """The status of the service, e.g. `NOT_FOUND`, of an error that `genai_errors` has raised."""
    return str(getattr(error.__context__, "status", None) or "")
