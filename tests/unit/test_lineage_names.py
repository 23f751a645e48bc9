"""Names of files in OpenLineage's events."""

from __future__ import annotations

import pytest
from vertex_tuning.lineage import file_identity


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("gs://bucket/datasets/a/training.jsonl", ("gs://bucket", "datasets/a/training.jsonl")),
        ("/opt/airflow/include/data/rows.jsonl", ("file", "/opt/airflow/include/data/rows.jsonl")),
        ("s3://bucket/rows.csv.gz", ("s3://bucket", "rows.csv.gz")),
        ("https://ada:secret@host:8443/rows.jsonl?sig=secret", ("https://host:8443", "rows.jsonl")),
        ("/data/\x1b[31mred.jsonl", ("file", "/data/\\x1b[31mred.jsonl")),
    ],
)
def test_a_file_has_the_name_that_openlineage_gives_it(uri: str, identity: tuple[str, str]) -> None:
    assert file_identity(uri) == identity
