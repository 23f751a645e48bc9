"""Series made for a test."""

from __future__ import annotations

from vertex_tuning.metrics.series import Point, Series


def series(name: str, *values: float, every: int = 1) -> Series:
    """A series with a value at each `every`th step."""
    points = [Point(number * every, value, "2026-01-01T00:00:00Z") for number, value in enumerate(values, 1)]
    return Series(name, points)
