"""Price tables that people write, and what is said of wrong ones."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.exceptions import ConfigurationError

TABLE = """\
date: 2026-01-01
source: https://example.com
currency: USD
per_million_training_tokens:
  gemini-2.5-flash: 5
  gemini-2.5-pro: 25.5
"""


def table(folder: Path, text: str | bytes) -> Path:
    path = folder / "prices.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("date", ["2026-01-01", '"2026-01-01"'])
def test_a_date_needs_no_quotes(tmp_path: Path, date: str) -> None:
    prices = load_prices(table(tmp_path, TABLE.replace("2026-01-01", date)))
    assert prices.date == datetime.date(2026, 1, 1)
    assert prices.price("gemini-2.5-pro") == 25.5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("2026-01-01", "2026-13-45", "line 1: date: Invalid"),
        ("2026-01-01", '"2026-99-01"', "line 1: date: Invalid"),
        ("2026-01-01", "2026-01-01T99:00:00", "line 1: date: Invalid"),
        ("2026-01-01", "0x10", "line 1: date: Invalid"),
        ("2026-01-01", "7", "line 1: date: Expected `date`"),
        ("25.5", "0", r"line 6: per_million_training_tokens\.gemini-2\.5-pro: Expected `float` > 0"),
        ("25.5", "-1", r"line 6: per_million_training_tokens\.gemini-2\.5-pro: Expected `float` > 0"),
        ("25.5", "free", r"line 6: per_million_training_tokens\.gemini-2\.5-pro: Expected `float`, got `str`"),
        ("25.5", "true", r"line 6: per_million_training_tokens\.gemini-2\.5-pro: Expected `float`, got `bool`"),
        ("25.5", "0x10", "line 6: .* which YAML reads as 16"),
        ("25.5", "1:30", "line 6: .* which YAML reads as 90"),
        ("25.5", ".nan", "line 6: .* which YAML reads as nan"),
        ("25.5", ".inf", "line 6: .* which YAML reads as inf"),
        ("25.5", "1_000", "line 6: .* which YAML reads as 1000"),
        ("25.5", "9" * 10_000, "line 6: .* expected a number within"),
        ("25.5", "&a 3", "line 6: has the anchor or alias 'a'"),
        ("25.5", "!!float 3", "line 6: has the tag"),
        ("gemini-2.5-pro", "gemini-2.5-flash", "line 6: .*: found twice, first in line 5"),
        ("source:", "currency: EUR\nsource:", "line 4: currency: found twice, first in line 2"),
        ("source:", "date: 2026-01-01\nsource:", "line 2: date: found twice, first in line 1"),
        ("currency: USD", "", "missing required field `currency`"),
        ("currency:", "curency:", "unknown field `curency`"),
        ("currency: USD", "currency: 3", "line 3: currency: Expected `str`, got `int`"),
        ("https://example.com", '"a\\0b"', r"line 2: source: found the control character \\x00"),
        ("https://example.com", "2026-01-01", "line 2: source: found 2026-01-01, which YAML reads as a date"),
    ],
)
def test_what_is_wrong_is_told_by_line_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TABLE
    with pytest.raises(ConfigurationError, match=said) as error:
        load_prices(table(tmp_path, TABLE.replace(old, new)))
    for line in str(error.value).splitlines():
        assert line.startswith("prices: prices.yaml, line ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "a",
        "a: " + "[" * 3000,
        "? [a]\n: b",
        "<<: 5",
        "- [",
        "\0",
        b"\xff",
        b"#" * 1_000_001,
        "a: b\n---\nc: d",
    ],
    ids=lambda text: repr(text[:10]),
)
def test_a_file_that_is_no_table_is_an_error_of_this_package(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"^prices: prices\.yaml"):
        load_prices(table(tmp_path, text))


@pytest.mark.parametrize("kind", ["missing", "folder", "dangling link", "loop", "long name", "NUL", "unreadable"])
def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "prices.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind in ("dangling link", "loop"):
        path.symlink_to("nowhere" if kind == "dangling link" else path.name)
    elif kind == "long name":
        path = tmp_path / ("x" * 5000)
    elif kind == "NUL":
        path = tmp_path / "a\0b"
    elif kind == "unreadable":
        path = Path("/proc/self/mem")
    with pytest.raises(ConfigurationError, match=r"^prices: "):
        load_prices(path)


def test_a_large_table_of_mistakes_takes_no_long_time(tmp_path: Path) -> None:
    start = time.process_time()
    with pytest.raises(ConfigurationError):
        load_prices(table(tmp_path, TABLE + "".join(f"  m{number}: x\n" for number in range(60_000))))
    assert time.process_time() - start < 15
