"""Housekeeping of a tuning: how many models are kept, and for how long. Pure."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from vertex_tuning.schema import Model

MAX_KEEP_MODELS: Final = 1000
MAX_KEEP_DAYS: Final = 3650.0


class Housekeeping(Model):
    """Limits of the DAG `housekeeping`. Without this field, it deletes nothing of the tuning.

    :param keep_models: number of the newest models that are kept, besides those with an alias
    :param keep_days: nothing that was made or changed within so many days is deleted
    :param dry_run: only print what would be deleted
    """

    keep_models: int = Field(default=5, ge=1, le=MAX_KEEP_MODELS)
    keep_days: float = Field(default=90.0, ge=1, le=MAX_KEEP_DAYS)
    dry_run: bool = True
