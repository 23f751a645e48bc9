"""Tokens of files by Google's published rates, and the range where a file is not known."""

from __future__ import annotations

import pytest
from vertex_tuning.config.media_table import media_facts, media_table
from vertex_tuning.costs.media import MediaFacts, MediaFile, TokenRange, media_tokens

OLD, NEW = "gemini-2.5-flash", "gemini-3.1-flash-lite"
HOUR = 3600


def tokens(model: str, file: MediaFile) -> tuple[int, int]:
    found = media_tokens(file, media_facts(model))
    return found.low, found.high


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (MediaFile("image"), (258, 258 + 2048), (1120, 1120)),
        (MediaFile("image", "low"), (64, 64), (280, 280)),
        (MediaFile("image", "medium"), (258, 258), (560, 560)),
        (MediaFile("image", "high"), (258, 258 + 2048), (1120, 1120)),
        (MediaFile("document"), (258, 300 * 258), (560, 300 * 560)),
        (MediaFile("document", pages=7), (7 * 258, 7 * 258), (7 * 560, 7 * 560)),
        (MediaFile("document", "low", pages=2), (128, 128), (560, 560)),
        (MediaFile("document", "high", pages=2), (516, 516), (2240, 2240)),
        (MediaFile("audio", seconds=60), (1920, 1920), (1500, 1500)),
        (MediaFile("audio"), (32, HOUR * 32), (25, HOUR * 25)),
        (MediaFile("video", "low", seconds=20), (20 * 64, 20 * (64 + 32)), (20 * 70, 20 * (70 + 25))),
        (MediaFile("video", "high"), (258, 300 * (258 + 32)), (280, 300 * (280 + 25))),
        (MediaFile("video", "low"), (64, 1200 * (64 + 32)), (70, 1200 * (70 + 25))),
        (MediaFile("video", "low", seconds=10, frames_per_second=5), (3200, 3520), (3500, 3750)),
        (MediaFile("text", size=400), (50, 400), (50, 400)),
        (MediaFile("text"), (0, 131_072), (0, 131_072)),
        (MediaFile(None), (0, 131_072), (0, 131_072)),
    ],
)
def test_a_file_costs_what_its_generation_and_resolution_say(
    file: MediaFile, old: tuple[int, int], new: tuple[int, int]
) -> None:
    assert tokens(OLD, file) == old
    assert tokens(NEW, file) == new


def test_the_highest_resolution_is_for_images_of_gemini_3() -> None:
    assert tokens(NEW, MediaFile("image", "ultra_high")) == (2240, 2240)


@pytest.mark.parametrize("model", ["", "gemini-9-flash", "projects/1/locations/us-central1/models/2@1"])
def test_a_model_of_an_unknown_generation_has_the_rates_of_all(model: str) -> None:
    assert tokens(model, MediaFile("image", "low")) == (64, 280)
    assert tokens(model, MediaFile("document")) == (258, 300 * 560)


def test_a_version_of_a_model_has_its_rates() -> None:
    assert tokens("gemini-2.5-flash-001", MediaFile("image", "low")) == (64, 64)


def test_without_facts_nothing_is_counted() -> None:
    assert media_tokens(MediaFile("image"), MediaFacts()) == TokenRange(0, 0)


def test_each_figure_of_the_table_says_where_and_when_it_was_read() -> None:
    table = media_table()
    for limits in table.kinds.values():
        assert limits.source.startswith("https://")
        assert limits.mime_source.startswith("https://")
        assert limits.read.year >= 2026
    for rates in table.rates:
        assert all(source.startswith("https://") for source in rates.sources)
        assert rates.sources
        assert rates.read.year >= 2026
