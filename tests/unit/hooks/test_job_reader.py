"""Answers that are a tuning job, and those that are none."""

from __future__ import annotations

import pytest
from vertex_tuning.exceptions import VertexUnavailableError
from vertex_tuning.hooks.job_reader import parse

NAME = "projects/1/locations/us-central1/tuningJobs/2"


@pytest.mark.parametrize(
    "fields",
    ['"createTime": "soon"', '"createTime": "2026-01-01T00:00:00"', '"state": 5', f'"x": {"[" * 900}{"]" * 900}'],
)
def test_an_answer_that_cannot_be_read_is_an_error_of_this_package(fields: str) -> None:
    with pytest.raises(VertexUnavailableError, match=r"Google answered .*, expected a tuning job"):
        parse(f'{{"name": "{NAME}", {fields}}}'.encode())
