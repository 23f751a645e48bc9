"""The package's tables of dated facts about Google's offer, and the files that replace them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec
from airflow.sdk import conf

from vertex_tuning.config.strict_yaml import NotYamlError, read_yaml_file
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.plain_text import plain

PACKAGE_DATA: Final = Path(__file__).resolve().parent.parent / "data"

_T = TypeVar("_T")


def table_path(name: str) -> Path:
    """The file of a table: `[vertex_tuning] NAME`, or else the one in the package."""
    return Path(conf.get("vertex_tuning", name, fallback="") or PACKAGE_DATA / f"{name}.yaml")


def read_table(name: str, form: type[_T]) -> _T:
    """Read a table.

    :param name: of the table, e.g. `base_models`; also the option that names another file
    :param form: what the table must convert to
    :raises ConfigurationError: names the file, the line and what is wrong
    """
    path = table_path(name)
    try:
        document = read_yaml_file(path)
        if document.mistakes:
            first = document.mistakes[0]
            raise ConfigurationError(plain(f"{path}, line {first.line}: {first.text}"))
        return msgspec.convert(document.content, form, strict=False)
    except NotYamlError as error:
        raise ConfigurationError(plain(f"{path}, line {error.line}: {error}")) from error
    except (OSError, msgspec.ValidationError) as error:
        raise ConfigurationError(plain(f"[vertex_tuning] {name}: {path}: {error}")) from error
