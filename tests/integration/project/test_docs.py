"""The pages under docs/ say what the code does: tests they name exist, options and fields are complete."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from pydantic import BaseModel
from vertex_tuning.cli.check_command import add_check_command
from vertex_tuning.config.notify import Event
from vertex_tuning.config.tuning import REQUIRED_IN_FILES, Tuning
from vertex_tuning.datasets.choices import Format
from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.evaluation.gates import LIMITS
from vertex_tuning.evaluation.value_names import KNOWN
from vertex_tuning.notifications.notice import Notice
from vertex_tuning.results import PromotionRule

from tests.support.paths import PROJECT_DIR

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


def tables(page: str) -> list[list[list[str]]]:
    """The cells of each table of a page, without the header."""
    found = re.findall(r"\|.*\|\n\|[-|]+\|\n((?:\|.*\n)+)", page)
    return [[[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()] for table in found]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_each_option_of_the_package_stands_on_the_page_with_its_default(project_dir: Path) -> None:
    sources = [path.read_text() for folder in ("plugins", "dags") for path in (project_dir / folder).rglob("*.py")]
    reads = r"conf\.get\w*\(\s*\"vertex_tuning\",\s*\"(\w+)\"(?:,\s*fallback=([^),]+))?"
    options = dict(found for source in sources for found in re.findall(reads, source))
    # Each table of the package can be replaced by a file that an option of its name gives.
    options |= {path.stem: '""' for path in (project_dir / "plugins/vertex_tuning/data").glob("*.yaml")}
    [rows, _] = tables((project_dir / "docs" / "configuration.md").read_text())
    documented = {code(option)[0]: default for option, default, _ in rows}
    assert len(options) >= 5
    assert documented.keys() == options.keys()
    for option, default in documented.items():
        if code(default):
            assert yaml.safe_load(code(default)[0]) == yaml.safe_load(options[option])


def fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each field that a file can have, by its dotted name, with its default; `...` for a required one."""
    for name, field in model.model_fields.items():
        kind = next(
            (kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if inner(kind)), None
        )
        if kind:
            yield from fields(kind, f"{above}{name}.")
        elif name != "name" or above:
            yield (
                f"{above}{name}",
                ...
                if field.is_required() or f"{above}{name}" in REQUIRED_IN_FILES
                else field.get_default(call_default_factory=True),
            )


def inner(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_each_field_of_a_tuning_is_explained_with_its_default(project_dir: Path) -> None:
    rows, *_ = tables((project_dir / "docs" / "tuning-file.md").read_text())
    documented = {code(field)[0]: default for field, default, _ in rows}
    model = dict(fields(Tuning))
    assert documented.keys() == model.keys()
    for field, default in documented.items():
        if code(default):
            assert yaml.safe_load(code(default)[0]) == model[field], field
        else:
            assert (default == "required") == (model[field] is ...), field
            assert default == "required" or not model[field], field


def test_each_field_of_a_case_a_gate_and_the_rule_is_explained(project_dir: Path) -> None:
    _, cases, _, _, _, limits, values, rule = tables((project_dir / "docs" / "tuning-file.md").read_text())
    names = [{code(row[0])[0] for row in table} for table in (cases, limits, rule)]
    assert names[0] == {field.name for field in msgspec.structs.fields(SmokeCase)}
    assert names[1] == set(LIMITS)
    assert names[2] == {field.name for field in msgspec.structs.fields(PromotionRule)}
    named = {value for row in values for value in code(row[0])}
    assert named == {value if value in named else value.partition(".")[0] for value in KNOWN}


def test_links_between_the_pages_lead_somewhere(project_dir: Path) -> None:
    for page in [project_dir / "README.md", *(project_dir / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^):]+)\)", page.read_text()):
            path, _, heading = link.partition("#")
            target = (page.parent / path) if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not heading or heading in headings(target), f"{page.name}: {link}"


def headings(page: Path) -> set[str]:
    """Anchors of the headings of a page and of the files that it includes, as GitHub makes them."""
    text = page.read_text()
    text += "".join((PROJECT_DIR / path).read_text() for path in re.findall(r'(?m)^--8<-- "([\w./-]+\.md)', text))
    found = re.findall(r"(?m)^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_each_finding_about_data_stands_in_a_table(project_dir: Path) -> None:
    folder = project_dir / "plugins/vertex_tuning/datasets"
    calls = r"(?:Problem|Finding|_warning|_error|conversion_error|_refuse)\(\s*\"(\w+)\""
    in_code = {kind for path in folder.glob("*.py") for kind in re.findall(calls, path.read_text())}
    pages = [(project_dir / "docs" / name).read_text() for name in ("datasets.md", "files.md")]
    rows = [row for page in pages for table in tables(page) for row in table if len(row) == 3]
    documented = {kind: severity for kinds, severity, _ in rows for kind in code(kinds.partition(":")[0])}
    assert len(in_code) > 50
    assert in_code - documented.keys() == set()
    severities = {severity for kind, severity in documented.items() if kind in in_code}
    assert all(re.match("error|warning", severity) for severity in severities)


def test_each_format_stands_on_the_page(project_dir: Path) -> None:
    [_, rows, *_] = tables((project_dir / "docs" / "datasets.md").read_text().replace("\\|", ""))
    assert {code(name)[0] for name, *_ in rows} == set(get_args(Format))


def test_each_option_of_the_check_stands_on_the_page(project_dir: Path) -> None:
    [rows, *_] = tables((project_dir / "docs" / "datasets.md").read_text())
    commands = argparse.ArgumentParser().add_subparsers()
    add_check_command(commands)
    options = {name for action in commands.choices["check"]._actions for name in action.option_strings}
    assert {code(option)[0] for option, _ in rows} == options - {"-h", "--help"}


def test_each_event_and_each_value_of_a_message_stands_on_the_page(project_dir: Path) -> None:
    [events, values] = tables((project_dir / "docs" / "notifications.md").read_text())
    assert {code(event)[0] for event, *_ in events} == set(get_args(Event))
    fields_of_a_notice = {field.name for field in msgspec.structs.fields(Notice)} | {"subject", "text", "html"}
    named = {name for names, _ in values for name in code(names)}
    assert named == {f"notification.{field}" for field in fields_of_a_notice}
