"""Files that tunings name, looked for before a run needs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.loader import load_tunings
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.exceptions import ConfigurationError, DatasetError
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets
from vertex_tuning.text.templates import template_mark

if TYPE_CHECKING:
    from vertex_tuning.hooks.storage import StorageHook


def file_mistakes(project: Path) -> Iterator[str]:
    """Mistakes in the price table and in the local data of a project's tunings.

    A URI and a template are left for the run. A missing file does not remove the DAG: the run may find the file.
    """
    tunings, _ = load_tunings(*tuning_folders(project))
    if tunings:
        yield from _price_mistakes()
    for tuning in tunings:
        yield from _data_mistakes(tuning, project)


def _price_mistakes() -> Iterator[str]:
    try:
        load_prices(table_path("prices"))
    except ConfigurationError as error:
        yield from str(error).splitlines()


def _data_mistakes(tuning: Tuning, project: Path) -> Iterator[str]:
    # Imported here: reading datasets takes a tenth of a second to load.
    from vertex_tuning.datasets.sources import find_sources, readable_folders

    for field in ("training_data", "validation_data", "test_data"):
        source = getattr(tuning, field)
        if not source or template_mark(source) or "://" in source:
            continue
        try:
            find_sources(source, readable_folders(project), cast("StorageHook", None))  # local files need none
        except (ConfigurationError, DatasetError, OSError) as error:
            yield plain(without_secrets(f"tunings/{tuning.name}: {field}: {error}"), MESSAGE_SHOWN)
