"""Tables of dated facts about Google's offer: each row names its source, and another file can replace a table."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
import vertex_tuning
from vertex_tuning.config.base_models import (
    base_model,
    base_models,
    check_base_model,
    retirement_note,
    tunable_models,
)
from vertex_tuning.config.locations import check_location, known_locations
from vertex_tuning.config.media_table import media_table
from vertex_tuning.exceptions import ConfigurationError

ROW = '- {name: gemini-9-flash, tunable: true, source: "https://example.org", read: "2026-11-01"}\n'


@pytest.fixture(autouse=True)
def read_again() -> Iterator[None]:
    """The tables are read once a process; each of these tests reads its own."""
    yield
    base_models.cache_clear()
    known_locations.cache_clear()
    media_table.cache_clear()


def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str, text: str) -> Path:
    path = tmp_path / f"{table}.yaml"
    path.write_text(text)
    monkeypatch.setenv(f"AIRFLOW__VERTEX_TUNING__{table.upper()}", str(path))
    base_models.cache_clear()
    known_locations.cache_clear()
    media_table.cache_clear()
    return path


def test_each_row_says_where_and_when_it_was_read() -> None:
    for model in base_models().values():
        assert model.source.startswith("https://")
        assert datetime.date(2026, 1, 1) < model.read <= datetime.date.today()  # noqa: DTZ011 - the day is enough


def test_each_tunable_model_has_limits_and_a_generation_of_known_rates() -> None:
    generations = {rates.generation for rates in media_table().rates}
    for name in tunable_models():
        model = base_models()[name]
        assert model.generation in generations
        assert model.max_example_tokens == 131_072
        assert model.adapter_sizes
        assert set(model.adapter_sizes) <= {1, 2, 4, 8, 16, 32}
        assert set(model.successors) <= base_models().keys()
        assert all(location in known_locations() for location in model.tuning_locations + model.serving_locations)
        assert all(each.source.startswith("https://") for each in model.further_sources)
        known = {field for each in model.further_sources for field in each.facts}
        assert known <= set(model.__struct_fields__)


def test_each_model_has_a_date_of_its_end_and_new_tuning_ends_a_month_before() -> None:
    for name in tunable_models():
        model = base_models()[name]
        assert (model.retirement is None) == (model.earliest_retirement is not None)
        if model.retirement:
            assert model.end_of_new_tuning
            assert datetime.timedelta(28) <= model.retirement - model.end_of_new_tuning <= datetime.timedelta(31)
            assert model.successors


@pytest.mark.parametrize(
    ("today", "said"),
    [
        ("2026-07-21", ""),
        ("2026-07-22", "retires on 2026-10-20, in at most 90 days."),
        ("2026-09-19", "retires on 2026-10-20, in at most 90 days."),
        ("2026-09-20", "retires on 2026-10-20, in at most 30 days."),
        ("2026-10-19", "retires on 2026-10-20, in at most 30 days."),
        ("2026-10-20", "was retired on 2026-10-20: Google will probably refuse to tune it."),
        ("2028-01-01", "was retired on 2026-10-20: Google will probably refuse to tune it."),
    ],
)
def test_the_end_of_a_model_is_announced_90_and_30_days_ahead(today: str, said: str) -> None:
    note = retirement_note("gemini-2.5-flash-001", datetime.date.fromisoformat(today))
    assert (said in note) is True
    assert bool(note) is bool(said)
    if note:
        assert note.startswith("gemini-2.5-flash-001 ")
        assert note.endswith(
            "A tuned model retires with its base. Set base_model to gemini-3.5-flash-lite or gemini-3.1-flash-lite, "
            "which Google recommends, and run the tuning again."
        )
    assert ("Projects that are new to it cannot tune it from 2026-09-20 on." in note) is ("at most" in note)


def test_a_date_before_which_a_model_does_not_end_is_no_warning() -> None:
    assert base_models()["gemini-3.5-flash"].earliest_retirement
    assert retirement_note("gemini-3.5-flash", datetime.date(2028, 1, 1)) == ""


def test_without_a_date_a_model_is_retired_or_goes_on() -> None:
    assert retirement_note("gemini-1.0-pro").startswith("gemini-1.0-pro has been retired: Google")
    assert retirement_note("gemini-9-flash") == ""
    assert retirement_note("") == ""


def test_a_row_is_found_by_a_numbered_version_of_its_model() -> None:
    assert base_model("gemini-2.5-flash-001") == base_models()["gemini-2.5-flash"]
    assert base_model("gemini-2.5-flash-image") is None


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


def test_another_file_replaces_the_limits_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = Path(vertex_tuning.__file__).parent / "data" / "media.yaml"
    text = package.read_text()
    use(monkeypatch, tmp_path, "media", text.replace("most_files: 30", "most_files: 3"))
    assert media_table().kinds["image"].most_files == 3
    use(monkeypatch, tmp_path, "media", text.replace("most_files: 30", "most_files: thirty"))
    with pytest.raises(ConfigurationError, match=r"media: media.yaml, line \d+: kinds"):
        media_table()
