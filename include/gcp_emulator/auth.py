"""Access tokens for clients that require one: a key file whose `token_uri` is `http://HOST:PORT/token`.

Every request gets a token, and no other service reads it.
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .vertex.rest import body_of

TOKEN_SECONDS = 3600


async def token(request: Request) -> Response:
    """A new bearer token, good for an hour as Google's are."""
    await body_of(request)
    granted = {"access_token": secrets.token_urlsafe(32), "expires_in": TOKEN_SECONDS, "token_type": "Bearer"}
    return JSONResponse(granted)


def routes() -> list[BaseRoute]:
    """The routes of Google's OAuth 2.0 token endpoint."""
    return [Route("/token", token, methods=["POST"], name="oauth2.token")]
