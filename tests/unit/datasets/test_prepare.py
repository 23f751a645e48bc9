"""A dataset made ready: what is used as it is, what is written again, and what is said about it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from vertex_tuning.costs.token_estimate import estimate_tokens
from vertex_tuning.datasets.duplicates import Examples, Pair, Place
from vertex_tuning.datasets.lines import read_lines
from vertex_tuning.datasets.prepare import (
    DatasetOptions,
    Sizes,
    parse_options,
    prepare,
    sample,
    write_report,
)
from vertex_tuning.datasets.statistics import distribution, draw
from vertex_tuning.exceptions import ConfigurationError, DatasetError

from include.gcp_emulator.model.tokens import count_tokens
from include.gcp_emulator.tuning.datasets import data_stats
from include.gcp_emulator.tuning.datasets import inspect as service_inspect
from tests.support.dataset_files import lines, pair, prepared, row, source
from tests.support.paths import SUPPORT_TRIAGE


def test_a_plain_file_is_used_as_it_is(tmp_path: Path) -> None:
    content = lines([pair(), b"", pair("a", systemInstruction={"parts": [{"text": "Be kind."}]})])
    report = prepared(content, tmp_path).training
    assert (report.path, report.rows, report.bytes) == (None, 2, len(content))
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["findings.jsonl"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "A.JSONL.GZ"])
def test_a_packed_file_is_unpacked(name: str, tmp_path: Path) -> None:
    content = lines([pair(), pair("a")])
    report = prepared(gzip.compress(content), tmp_path, name).training
    assert report.path is not None
    assert Path(report.path).read_bytes() == content
    assert (report.bytes, report.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_several_files_become_one(tmp_path: Path) -> None:
    files = [source(lines([pair("a")]).strip(), "a.jsonl"), source(lines([pair("a"), {}]), "b.jsonl")]
    found = prepare(files, options=DatasetOptions(), folder=tmp_path)
    assert Path(found.training.path or "").read_bytes() == lines([pair("a")] * 2)
    assert str(found.shown["error"][0]) == "b.jsonl, line 2: contents: found none, expected a list of turns."
    assert str(found.shown["warning"][0]).startswith("b.jsonl, line 1: found the same example as line 1 of a.jsonl")


def test_bad_rows_are_dropped_when_that_is_asked_for_and_they_are_few(tmp_path: Path) -> None:
    rows = [pair(str(n)) for n in range(199)]
    found = prepared(lines([*rows[:50], b"{", *rows[50:]]), tmp_path, on_invalid_row="drop")
    found.require_valid()
    assert (found.training.rows, found.training.dropped, found.counts["dropped"]) == (199, 1, {"json": 1})
    assert found.shown["dropped"][0].line == 51
    assert Path(found.training.path or "").read_bytes() == lines(rows)


def test_nothing_is_written_again_when_nothing_was_dropped(tmp_path: Path) -> None:
    content = lines([pair(), b"", pair("a")])
    report = prepared(content, tmp_path, on_invalid_row="drop").training
    assert (report.path, report.sha256) == (None, hashlib.sha256(content).hexdigest())


def test_too_many_dropped_rows_are_an_error() -> None:
    found = prepared(lines([pair(str(n)) for n in range(98)] + [b"{"] * 2), on_invalid_row="drop")
    assert found.counts["error"] == {"dropped": 1}
    with pytest.raises(DatasetError, match=r"found 2 of 100 rows \(2\.0%\) unusable, expected at most 1\.0%"):
        found.require_valid()


def test_the_first_errors_are_told_and_all_are_counted_and_reported() -> None:
    with pytest.raises(DatasetError) as error:
        prepared(lines([b"x"] * 50 + [row(("user", "a"))] * 5)).require_valid()
    text = str(error.value)
    assert "found 56 errors" in text
    assert "train.jsonl, line 20: " in text
    assert "line 21" not in text
    assert "and 36 more" in text
    assert "by kind: json 50, no_rows 1, turns 5" in text


def test_the_report_has_all_findings(tmp_path: Path) -> None:
    found = prepared(lines([b"x"] * 50 + [pair()]), tmp_path)
    output = BytesIO()
    write_report(found, output)
    report = json.loads(output.getvalue())
    assert report["training"]["rows"] == 1
    assert report["counts"]["error"] == {"json": 50}
    assert [finding["line"] for finding in report["findings"]] == list(range(1, 51))
    assert set(report["findings"][0]) == {"kind", "severity", "file", "line", "found", "expected"}


def test_the_report_of_a_good_dataset_has_no_findings(tmp_path: Path) -> None:
    output = BytesIO()
    write_report(prepared(lines([pair()]), tmp_path), output)
    assert json.loads(output.getvalue())["findings"] == []


def test_what_is_not_written_is_counted(tmp_path: Path) -> None:
    found = prepared(lines([b"x"] * 50), tmp_path, sizes=Sizes(max_written=10))
    assert found.counts["error"]["json"] == 50
    assert len((tmp_path / "findings.jsonl").read_bytes().splitlines()) == 10


def test_the_summary_is_small_and_plain() -> None:
    summary = prepared(lines([pair(str(n), "x" * 1000) for n in range(100)])).summary()
    assert json.loads(json.dumps(summary)) == summary
    assert len(json.dumps(summary)) < 1000
    assert summary["training"]["tokens"] == 100 * 251
    assert summary["validation"] is None


def test_options_come_from_plain_values() -> None:
    values = {"validation_fraction": "0.1", "columns": {"prompt": "text"}, "format": None, "split_seed": ""}
    options = parse_options(values)
    assert (options.validation_fraction, options.column_names.prompt, options.split_seed) == (0.1, "text", 0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"validation_fraction": 0.9}, "validation_fraction"),
        ({"on_invalid_row": "ignore"}, "on_invalid_row"),
        ({"columns": {"prompts": "a"}}, "prompts"),
        ({"fraction": 1}, "fraction"),
        ({"split_seed": 2**70}, "split_seed"),
    ],
)
def test_options_that_cannot_work_are_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_options(values)


def test_lines_longer_than_any_row_take_little_memory() -> None:
    found = list(read_lines(BytesIO(b"a\n" + b"x" * 50_000 + b"\nb"), max_line=1000, chunk_size=100))
    assert sum(len(one.lines) for one in found) == 3
    assert max(len(line) for one in found for line in one.lines) <= 1100


def test_examples_are_compared_in_parts() -> None:
    known = Examples(part_size=10, block_size=7)
    known.add([n % 40 - 20 for n in range(80)], [5] * 80, range(1, 81), 0, part="training")
    known.add([3, 4], [5, 6], [1, 2], 1, part="validation")
    known.add([7], [5], [1], 2, part="test")
    pairs = set(known.pairs())
    known.close()
    assert {one for one in pairs if one.kind == "duplicate"} == {
        Pair("duplicate", Place(0, n), Place(0, n - 40)) for n in range(41, 81)
    }
    assert {one for one in pairs if one.kind != "duplicate"} == {
        Pair("leak", Place(1, 1), Place(0, 24)),
        Pair("leak", Place(2, 1), Place(0, 28)),
        Pair("contradiction", Place(1, 2), Place(0, 25)),
    }


def test_what_is_not_compared_is_said() -> None:
    found = prepared(lines([pair("always the same", "yes")] * 50), sizes=Sizes(part_size=15))
    assert found.counts["warning"] == {"duplicate": 29, "not_compared": 1, "one_sided_labels": 1}
    assert "found 20 rows that were not compared" in found.text("warning")


def test_distributions_are_numpys() -> None:
    generator = np.random.default_rng(1)
    values = generator.lognormal(4, 1, 999).astype(int)
    counts = dict(zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True))
    found = distribution(counts)
    edges = [*(bucket.left for bucket in found.buckets), found.buckets[-1].right]
    assert [bucket.count for bucket in found.buckets] == np.histogram(values, edges)[0].tolist()
    assert [found.p5, found.median, found.p95] == pytest.approx(np.percentile(values, (5, 50, 95)).tolist())
    assert found.mean == pytest.approx(values.mean())
    assert found.sum == values.sum()


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([3], [(3, 1)]),
        ([1, 1, 3], [(1, 2), (2, 0), (3, 1)]),
        ([1, *[5] * 4, 10], [(1, 1), (2, 0), (3, 0), (4, 0), (5, 4), (6, 0), (7, 0), (8, 0), (9, 0), (10, 1)]),
        ([0, 10], [(0, 1), (2, 0), (4, 0), (6, 0), (8, 0), (10, 1)]),
    ],
)
def test_bins_are_of_whole_numbers(values: list[int], bins: list[tuple[int, int]]) -> None:
    found = distribution(Counter(values)).buckets
    assert [(bucket.left, bucket.count) for bucket in found] == bins
    assert len({bucket.right - bucket.left for bucket in found}) == 1


def test_statistics_have_the_shape_and_nearly_the_figures_of_the_service(tmp_path: Path) -> None:
    """The emulator counts pieces of words, of which plain English has fewer than one to four characters."""
    mine = prepared(SUPPORT_TRIAGE.read_bytes()).training.statistics
    theirs = data_stats(service_inspect(SUPPORT_TRIAGE, tmp_path / "rows.jsonl", "supervised"), "supervised")
    stats = theirs["supervisedTuningDataStats"]
    assert mine.tuning_dataset_example_count == int(stats["tuningDatasetExampleCount"])
    assert mine.total_billable_token_count == pytest.approx(int(stats["totalBillableTokenCount"]), rel=0.25)
    assert mine.user_message_per_example_distribution is not None
    assert mine.user_message_per_example_distribution.sum == int(stats["userMessagePerExampleDistribution"]["sum"])
    written = json.loads(msgspec.json.encode(mine))
    for name in ("userInputTokenDistribution", "userOutputTokenDistribution", "userMessagePerExampleDistribution"):
        assert set(written[name]) | {"billableSum"} == set(stats[name])
        assert set(written[name]["buckets"][0]) == set(stats[name]["buckets"][0])


def test_statistics_are_drawn(tmp_path: Path) -> None:
    drawn = draw(prepared(lines([pair("word " * n, "yes") for n in range(1, 50)])).training.statistics)
    assert "input tokens" in drawn
    assert "█" in drawn
    assert all(len(line) < 120 for line in drawn.splitlines())


@pytest.mark.parametrize(
    ("text", "tolerance"),
    [
        ("The customer wrote that the order has not arrived and asks for a refund. " * 50, 0.25),
        ("Le client écrit que la commande n'est pas arrivée et demande à être remboursé. " * 50, 0.3),
    ],
)
def test_token_estimates_are_near_the_services(text: str, tolerance: float) -> None:
    assert estimate_tokens(text) == pytest.approx(count_tokens(text), rel=tolerance)


def test_token_estimates_of_any_text_are_sane() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("a") == estimate_tokens("é") == 1
    assert estimate_tokens("你好" * 500) == pytest.approx(550, rel=0.01)
    assert estimate_tokens("x" * 10_000 + "你" * 10_000) == pytest.approx(2500 + 5500, rel=0.05)
    assert estimate_tokens("\ud800") == 1


def test_sample_is_the_same_whatever_the_order() -> None:
    rows = lines([pair(f"question {n}", str(n)) for n in range(100)]).splitlines(keepends=True)
    picked = sample(rows, 5)
    assert picked == sample(reversed(rows), 5)
    assert len({one.contents[0].parts[0].text for one in picked}) == 5
