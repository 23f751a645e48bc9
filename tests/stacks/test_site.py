"""The built documentation site: strict, without markup that is left over, and without requests to other hosts."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

LEFT_OVER = r"(?m)```|\]\([^)]+\)|--8<--|:param \w+:|:(?:class|func|data):|^:::|^\s*(?:\d\.|-|\|) .*"
"""Fences, links, snippets, lists, tables, docstrings' fields and roles that nothing has rendered."""


@pytest.fixture(scope="module")
def site(project_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=project_dir, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return folder


class Loaded(HTMLParser):
    """The addresses that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [values[name] or "" for name in ("src", "srcset", "data") if name in values]
        if tag == "link" and values.get("rel") != "canonical":
            self.addresses.append(values.get("href") or "")


def test_the_pages_load_nothing_from_other_hosts(site: Path) -> None:
    built = list(site.rglob("*.html"))
    assert len(built) > 15
    for path in built:
        parser = Loaded()
        parser.feed(path.read_text())
        assert [address for address in parser.addresses if re.match(r"(https?:)?//", address)] == [], path.name
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]+\)|@import[^;]+;", styles) == []


def test_no_markup_is_left_over(site: Path) -> None:
    for path in site.glob("*.html"):
        text = re.sub(r"<(pre|script|style)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
        shown = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<code\b.*?</code>", "", text, flags=re.DOTALL)))
        assert re.findall(LEFT_OVER, shown) == [], path.name


def test_every_example_is_on_its_page(site: Path, project_dir: Path) -> None:
    shown = html.unescape(re.sub(r"<[^>]+>", "", (site / "examples.html").read_text()))
    examples = list((project_dir / "dags" / "examples").glob("*.py"))
    assert len(examples) >= 5
    assert [path.name for path in examples if path.read_text().strip() not in shown] == []
