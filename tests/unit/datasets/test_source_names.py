"""Names of datasets that are refused whatever lies there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import pytest
from vertex_tuning.datasets.source_names import check_source_name, check_source_template
from vertex_tuning.datasets.sources import find_sources
from vertex_tuning.exceptions import ConfigurationError, DatasetError

RIGHT = [
    "rows.jsonl", "data/*.jsonl", "data/**/rows-?.jsonl", "/data/rows.jsonl", "file:///data/x.jsonl", "gs://bucket/x",
    "gs://bucket/part-?.jsonl", "gs://bucket/dt=2026-01-01/x.jsonl", "gs://bucket/part-?/dt=1/x.jsonl",
    "s3://connection@bucket/x.jsonl", "s3://arn:aws:s3:us-east-1:1:accesspoint/x/y.jsonl", "sftp://c@host:22/x.jsonl",
    "memory://x.jsonl",
]  # fmt: skip
WRONG = [
    "http://host/x.jsonl", "https://host/x.jsonl", "dir://", "dir:///etc/passwd", "a_b://x", "a b://x", "/etc/x://y", "://x",
    "zip://x::file:///etc/passwd", "gs://", "gs:///x.jsonl", "gs://bucket", "gs://bucket/", "gs://*/x.jsonl",
    "s3://x::file:///etc/passwd", "**/" * 30 + "x.jsonl", "gs://bucket/" + "**/" * 3 + "x",
]  # fmt: skip
SECRET = [
    "s3://KEY:SESAME@bucket/x", "s3://KEY:SE/SAME@bucket/x", "s3://KEY%3ASESAME@bucket/x", "gs://me:SESAME@bucket/x",
    "http://me:SESAME@host/x", "SESAME:KEY@s3://b/x", "s3://bucket/x?AWSAccessKeyId=SESAME", "gs://b/x?X-Goog-Signature=SESAME",
    "s3://bucket/x#token=SESAME", "https://host/x?sig=SESAME",
]  # fmt: skip


@pytest.mark.parametrize("given", RIGHT)
def test_right_names(given: str) -> None:
    check_source_name(given)
    check_source_template(given)


@pytest.mark.parametrize("given", [*WRONG, *SECRET])
@pytest.mark.parametrize("check", [check_source_name, check_source_template])
def test_wrong_names_are_refused_and_no_secret_is_quoted(given: str, check: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^Dataset: found") as error:
        check(given)
    assert "SESAME" not in str(error.value)
    assert "SE/SAME" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "{{ var.value.folder }}/x.jsonl",
        "{{ x }}",
        "gs://{{ var.value.b }}/{{ ds }}.jsonl",
        "s3://{{ c }}@b/x",
        "x/{{ ds }}",
    ],
)
def test_what_only_a_run_knows_is_left_for_it(given: str) -> None:
    check_source_template(given)


@pytest.mark.parametrize("given", ["http://{{ host }}/x", "s3://KEY:SESAME@b/{{ ds }}.jsonl", "gs://{{ var.value.b }}"])
def test_what_is_known_of_a_template_is_checked(given: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        check_source_template(given)
    assert "SESAME" not in str(error.value)


def test_a_deep_pattern_takes_no_long_time(tmp_path: Path) -> None:
    folder = tmp_path
    for name in "abcdefghijklmnopqrst":
        folder = folder / name
        folder.mkdir()
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"30 times \*\*, expected at most 2"):
        find_sources("**/" * 30 + "x.jsonl", [tmp_path], cast(Any, None))
    with pytest.raises(DatasetError, match="found no file"):
        find_sources("**/**/x.jsonl", [tmp_path], cast(Any, None))
    assert time.monotonic() - start < 2


def test_a_file_is_found_once_however_a_pattern_leads_to_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x.jsonl").touch()
    assert len(find_sources("**/**/x.jsonl", [tmp_path], cast(Any, None))) == 1
