"""What the pages under docs/ say is shown by a test is shown by one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = r"\btest_\w+"


@pytest.fixture(scope="module")
def all_tests(project_dir: Path) -> set[str]:
    sources = (path.read_text() for path in (project_dir / "tests").rglob("test_*.py"))
    return {name for source in sources for name in re.findall(rf"^(?:async )?def ({TESTS})", source, re.MULTILINE)}


def test_each_row_about_an_event_names_its_test(project_dir: Path, all_tests: set[str]) -> None:
    page = (project_dir / "docs" / "jobs.md").read_text()
    tables = re.findall(r"\| event \| job \| task \| test \|\n\|[-|]+\n((?:\|.*\n)+)", page)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 30
    assert [row for row in rows if not re.search(rf"`{TESTS}` \|$", row)] == []
    assert set(re.findall(TESTS, page)) - all_tests == set()


def test_each_state_of_the_aliases_names_its_test(project_dir: Path) -> None:
    page = (project_dir / "docs" / "models.md").read_text()
    [table] = re.findall(r"\| state of the aliases \|.*\n\|[-|]+\n((?:\|.*\n)+)", page)
    named = set(re.findall(r"`((?:test_|Test)\w+)`", table))
    sources = "".join(path.read_text() for path in (project_dir / "tests").rglob("test_*.py"))
    assert len(named) > 8
    assert named - set(re.findall(r"(?:def|class) (\w+)", sources)) == set()
