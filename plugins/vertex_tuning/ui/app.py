"""The application behind the page *Tunings*: HTML without scripts, and the same facts as JSON. It only reads.

Every endpoint with data has `MAY_READ`. Blocking reads run in threads, so that the API server is never held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.registry.aliases import ModelVersion
from vertex_tuning.text.plain_text import moment
from vertex_tuning.ui.access import MAY_READ, ReadableDags
from vertex_tuning.ui.addresses import PAGE, URL_PREFIX
from vertex_tuning.ui.background_cache import CachedValue
from vertex_tuning.ui.cards import build_card, card_chart
from vertex_tuning.ui.pages import render
from vertex_tuning.ui.score_chart import comparable, score_picture
from vertex_tuning.ui.state_reader import Curves, StateReader
from vertex_tuning.ui.tuning_page import (
    CURVES_SHOWN,
    RUNS_FIRST,
    TuningPage,
    chosen_runs,
    curve_problem,
    known_runs,
    loss_charts,
    partial_history,
    run_rows,
    version_facts,
)
from vertex_tuning.ui.tuning_state import TuningState

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC: Final = {**HEADERS, "Cache-Control": "no-cache"}
STATIC_PATH: Final = "/static"
JSON_PATH: Final = "/api"
"""Paths whose errors are JSON, as those of Airflow's own API."""

SHOWN_ERRORS: Final = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.SERVICE_UNAVAILABLE,
)

Keys = Annotated[Sequence[str], Query(max_length=100)]


def create_tunings_app() -> FastAPI:
    """The application, for the API server to mount."""
    app = FastAPI(title="Tunings", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount(STATIC_PATH, StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.middleware("http")(_add_headers)
    for status in SHOWN_ERRORS:
        app.add_exception_handler(status, _show_error)
    _add_endpoints(app, StateReader())
    return app


def _add_endpoints(app: FastAPI, reader: StateReader) -> None:
    async def one(dag_id: str, readable: set[str]) -> TuningState:
        files = await reader.files({dag_id} & readable)
        if not files:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"There is no tuning whose DAG is {dag_id!r}.")
        [state] = await reader.states(files, readable)
        return state

    async def every(readable: set[str]) -> list[TuningState]:
        return await reader.states(await reader.files(readable), readable)

    @app.get("/", response_class=HTMLResponse, dependencies=MAY_READ)
    async def overview(readable: ReadableDags) -> Response:
        states = await every(readable)

        def page() -> str:
            cards = [(build_card(state), card_chart(state)) for state in states]
            return render("overview", cards=cards)

        return HTMLResponse(await run_in_threadpool(page))

    @app.get(f"{JSON_PATH}/tunings", dependencies=MAY_READ)
    async def overview_json(readable: ReadableDags) -> Response:
        states = await every(readable)
        return _json({"tunings": await run_in_threadpool(lambda: [build_card(state) for state in states])})

    @app.get("/{dag_id}", response_class=HTMLResponse, dependencies=MAY_READ)
    async def tuning(dag_id: str, readable: ReadableDags, run: Keys = (), every_run: bool = False) -> Response:
        state = await one(dag_id, readable)
        history, versions, live = await asyncio.gather(
            reader.runs(state), reader.versions(state), reader.live_curves(state, _live(state))
        )
        records = known_runs(history, state)
        chosen = await run_in_threadpool(chosen_runs, records, run, state)
        curves = await reader.curves(state, [record.metrics_uri for record in chosen])
        drawn: list[CachedValue[Curves]] = [*curves.values(), *live.values()]

        def page() -> str:
            labels = {_label(record): curves[record.metrics_uri].value or {} for record in chosen}
            running = {name.rpartition("/")[2]: reading.value or {} for name, reading in live.items()}
            content = _page(state, records, versions.value if versions else None, every_run=every_run)
            return render(
                "tuning",
                page=content,
                spark=card_chart(state),
                scores=score_picture(comparable(records)),
                charts=loss_charts(labels),
                live_charts=loss_charts(running),
                chosen=[record.key for record in chosen],
                problems=[
                    *partial_history(history, state),
                    *(problem for reading in drawn if (problem := curve_problem(reading))),
                ],
            )

        return HTMLResponse(await run_in_threadpool(page))

    @app.get(f"{JSON_PATH}/tunings/{{dag_id}}", dependencies=MAY_READ)
    async def tuning_json(dag_id: str, readable: ReadableDags) -> Response:
        state = await one(dag_id, readable)
        history, versions = await asyncio.gather(reader.runs(state), reader.versions(state))
        found = versions.value if versions else None
        return _json(await run_in_threadpool(lambda: _page(state, known_runs(history, state), found, every_run=True)))


def _page(
    state: TuningState, records: Sequence[RunRecord], versions: list[ModelVersion] | None, *, every_run: bool
) -> TuningPage:
    return TuningPage(
        card=build_card(state),
        runs=run_rows(records if every_run else records[:RUNS_FIRST], state),
        run_count=len(records),
        versions=None if versions is None else version_facts(versions, state),
    )


def _live(state: TuningState) -> list[TuningJob]:
    """The running jobs that may have curves already."""
    return [job for job in (state.own_jobs.live if state.own_jobs else ()) if job.experiment][:CURVES_SHOWN]


def _label(record: RunRecord) -> str:
    """A run in the legend of the curves."""
    return f"{moment(record.ended)}, {record.title.lower()}"


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")


async def _add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    is_static = _path(request).startswith(f"{STATIC_PATH}/")  # routing changes the scope
    response = await call_next(request)
    response.headers.update(STATIC if is_static else HEADERS)
    return response


async def _show_error(request: Request, error: Any) -> Response:
    """The status of Airflow's own API; as a page for a browser, which is in a frame and needs a link out of it."""
    if _path(request).startswith(f"{JSON_PATH}/"):
        return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)
    base = request.scope.get("root_path", "").removesuffix(URL_PREFIX)
    is_anonymous = error.status_code == HTTPStatus.UNAUTHORIZED
    sign_in = f"api/v2/auth/login?next={quote(f'{base}/plugin/{PAGE}', safe='')}" if is_anonymous else ""
    page = render("error", status=HTTPStatus(error.status_code), detail=str(error.detail), sign_in=sign_in)
    return HTMLResponse(page, error.status_code, headers=error.headers)


def _path(request: Request) -> str:
    """The path below the application's own prefix."""
    return str(request.scope["path"]).removeprefix(str(request.scope.get("root_path", "")))
