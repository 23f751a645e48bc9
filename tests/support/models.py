"""Models in the local Google Cloud's Model Registry."""

from __future__ import annotations

from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook


def take_out_of_use(tuning: str) -> None:
    """Leave no model of a tuning in use: a test before may have promoted one."""
    registry = RegistryHook(GoogleConnection(location="us-central1"))
    for version in registry.versions_of(tuning):
        if "champion" in version.aliases:
            registry.merge_aliases(version.name, ["-champion"])
