"""Expectations that a hostile author writes, with a server that would notice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.evaluation.test_expectations import expecting


def test_a_schema_makes_nobody_fetch_anything(google_cloud: str, tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text("{}")
    there = [f"{google_cloud}/_internal/health", (tmp_path / "schema.json").as_uri()]
    for reference in there:
        with pytest.raises(msgspec.ValidationError, match="references only within itself"):
            expecting(json_schema={"$ref": reference})
