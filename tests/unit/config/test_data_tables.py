"""Tables of dated facts about Google's offer: each row names its source, and another file can replace a table."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from vertex_tuning.config.base_models import base_models, check_base_model, retirement_note, tunable_models
from vertex_tuning.config.locations import check_location, known_locations
from vertex_tuning.exceptions import ConfigurationError

ROW = '- {name: gemini-9-flash, tunable: true, source: "https://example.org", read: "2026-11-01"}\n'


@pytest.fixture(autouse=True)
def read_again() -> Iterator[None]:
    """The tables are read once a process; each of these tests reads its own."""
    yield
    base_models.cache_clear()
    known_locations.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str, text: str) -> Path:
    path = tmp_path / f"{table}.yaml"
    path.write_text(text)
    monkeypatch.setenv(f"AIRFLOW__VERTEX_TUNING__{table.upper()}", str(path))
    base_models.cache_clear()
    known_locations.cache_clear()
    return path


def test_each_row_says_where_and_when_it_was_read() -> None:
    for model in base_models().values():
        assert model.source.startswith("https://")
        assert datetime.date(2026, 1, 1) < model.read <= datetime.date.today()  # noqa: DTZ011 - the day is enough


def test_another_file_replaces_the_base_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path, "base_models", ROW)
    assert tunable_models() == ["gemini-9-flash"]
    assert check_base_model("gemini-9-flash-001") == "gemini-9-flash-001"
    assert retirement_note("gemini-9-flash") == ""
    with pytest.raises(ConfigurationError, match="gemini-9-flash"):
        check_base_model("gemini-9-flsh")


def test_another_file_replaces_the_locations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = 'source: https://example.org\nread: "2026-11-01"\nregions: [moon-north1]\nmulti_regions: []\n'
    use(monkeypatch, tmp_path, "locations", text)
    assert check_location("moon-north1") == "moon-north1"
    with pytest.raises(ConfigurationError, match="no known location"):
        check_location("us-central1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ROW.replace("tunable: true", "tunable: maybe"), "tunable"),
        (ROW.replace("name:", "nmae:"), "nmae"),
        (ROW.replace("2026-11-01", "2026-13-45"), "read"),
        (ROW.replace('"2026-11-01"', "2026-11-01"), "line 1"),
        ("[" * 3000, "line 1"),
        ("- {name: a, name: b}\n", "name"),
        ("\xff", "base_models"),
    ],
)
def test_what_is_wrong_with_a_table_is_named_with_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, said: str
) -> None:
    path = use(monkeypatch, tmp_path, "base_models", text)
    with pytest.raises(ConfigurationError, match=said) as error:
        base_models()
    assert str(error.value).startswith(f"base_models: {path.name}")


def test_a_table_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, tmp_path, "base_models", ROW).unlink()
    with pytest.raises(ConfigurationError, match="base_models: found no file at"):
        base_models()
