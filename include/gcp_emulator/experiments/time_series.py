"""Reading TensorBoard time series: read, batchRead, export, with the caps the discovery document gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from starlette.requests import Request

from ..errors import InvalidArgument
from ..state import Point, Resource, Store
from ..vertex.filters import compile_filter
from ..vertex.rest import found, integer, position_token, query, token_position

BATCH_SERIES: Final = 20
"""Largest number of series in a batchRead call."""
DEFAULT_POINTS: Final = 1000
"""Largest number of points per series of read and batchRead; beyond it a random sample is returned."""
MAX_POINTS: Final = 10_000
_FIELDS: Final = ("step", "wallTime")


def _render(points: Sequence[Point]) -> list[Resource]:
    return [{"step": str(step), "wallTime": time, "scalar": {"value": value}} for step, time, value in points]


def _data(series: Resource, values: list[Resource]) -> Resource:
    name = series["name"].rsplit("/", 1)[-1]
    return {"tensorboardTimeSeriesId": name, "valueType": series["valueType"], "values": values}


def _shuffled(values: list[Resource]) -> list[Resource]:
    return random.Random(len(values)).sample(values, len(values))  # noqa: S311 - not a secret


def _sample(values: list[Resource], size: int) -> list[Resource]:
    """At most `size` values in their order, the same ones for the same series length."""
    if len(values) <= size:
        return values
    chosen = sorted(random.Random(len(values)).sample(range(len(values)), size))  # noqa: S311 - not a secret
    return [values[i] for i in chosen]


def batch_read(store: Store, board: str, names: list[str]) -> list[Resource]:
    """Read several time series of a TensorBoard with their points.

    :raises InvalidArgument: the request names no series, more than 20, or a series of another TensorBoard
    :raises NotFound: a series does not exist
    """
    if not names or len(names) > BATCH_SERIES:
        raise InvalidArgument(f"time_series must have 1 to {BATCH_SERIES} entries, but has {len(names)}.")
    for name in names:
        if not name.startswith(board + "/"):
            raise InvalidArgument(f"Time series {name} does not belong to {board}.")
    series = [found(store.get("timeSeries", name), name) for name in names]
    return [_data(item, _sample(_render(store.points(item["name"])), DEFAULT_POINTS)) for item in series]


def read(store: Store, series: Resource, request: Request) -> Resource:
    """One series, its points filtered and sampled down to `maxDataPoints` (default 1,000, -1 for all)."""
    matches = compile_filter(query(request, "filter"), _FIELDS)
    size = integer(request, "maxDataPoints", DEFAULT_POINTS, -1, MAX_POINTS)
    values = [value for value in _render(store.points(series["name"])) if matches(value)]
    return _data(series, values if size == -1 else _sample(values, size))


def export(store: Store, series: Resource, body: Resource) -> Resource:
    """A page of a series' points, in the order that `orderBy` names ("step", "wall_time", each with " desc").

    Without `orderBy` they come "in a pseudo random order" (discovery document), which depends on the points alone.

    :raises InvalidArgument: the order, filter, size or token is wrong
    """
    matches = compile_filter(body.get("filter", ""), _FIELDS)
    values = [value for value in _render(store.points(series["name"])) if matches(value)]
    values = _ordered(values, body.get("orderBy", ""))
    size = body.get("pageSize", 0) or DEFAULT_POINTS
    if size < 0:
        raise InvalidArgument(f"pageSize must be at least 1, but was {size}.")
    size = min(size, MAX_POINTS)
    token = body.get("pageToken", "")
    start = token_position(token) if token else 0
    result: Resource = {"timeSeriesDataPoints": values[start : start + size]}
    if start + size < len(values):
        result["nextPageToken"] = position_token(start + size)
    return result


def _ordered(values: list[Resource], order: str) -> list[Resource]:
    field, _, direction = order.strip().partition(" ")
    if direction.strip() not in ("", "asc", "desc") or field not in ("", "step", "wall_time", "wallTime"):
        raise InvalidArgument(f"Invalid order_by: {order!r}.")
    if not field:
        return _shuffled(values)
    reverse = direction.strip() == "desc"
    if field in ("wall_time", "wallTime"):
        return sorted(values, key=lambda value: str(value["wallTime"]), reverse=reverse)
    return values[::-1] if reverse else values
