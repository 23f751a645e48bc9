"""The report's page in a browser: safe and readable wherever it is opened.

In a file of its own, because Playwright's event loop runs until the end of the module.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from vertex_tuning.report.build import build
from vertex_tuning.report.content import Report
from vertex_tuning.report.page import to_html

from tests.support import report_samples as samples

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


def opened(browser: Browser, path: Path, report: Report, **context: Any) -> tuple[Page, list[str]]:
    """Open a report's page; what it complains about, asks for or pops up is listed."""
    file = path / "report.html"
    file.write_text(to_html(report), encoding="utf-8")
    noticed: list[str] = []
    page = browser.new_page(**context)
    page.on("console", lambda message: noticed.append(message.text))
    page.on("pageerror", lambda error: noticed.append(str(error)))
    page.on("dialog", lambda dialog: noticed.append(dialog.message))
    page.on("request", lambda request: noticed.extend({request.url} - {file.as_uri()}))
    page.goto(file.as_uri())
    return page, noticed


@pytest.mark.parametrize(
    ("scheme", "blue", "amber"),
    [
        ("light", "rgb(31, 99, 198)", "rgb(181, 80, 11)"),
        ("dark", "rgb(125, 179, 255)", "rgb(245, 165, 96)"),
    ],
)
def test_curves_are_drawn_and_nothing_leaves_the_page(
    browser: Browser, tmp_path: Path, scheme: str, blue: str, amber: str
) -> None:
    page, noticed = opened(browser, tmp_path, build(samples.material()), color_scheme=scheme)
    assert page.locator("svg.picture").count() == 2
    assert page.locator("svg.picture path.line").count() == 4
    assert page.locator("svg.picture path.checkpoint").count() == 8
    strokes = [line.evaluate("line => getComputedStyle(line).stroke") for line in page.locator("path.line").all()]
    assert {blue, amber} == set(strokes)
    assert noticed == []
    page.evaluate("fetch('https://example.com/').catch(() => {})")
    assert any("Content Security Policy" in text for text in noticed)
    page.close()


def test_the_values_of_a_curve_can_be_read_with_the_mouse_and_from_a_table(browser: Browser, tmp_path: Path) -> None:
    page, noticed = opened(browser, tmp_path, build(samples.material()), java_script_enabled=False)
    picture = page.locator("svg.picture").first
    training, last = samples.series()[0].points[-1].value, "Step 400; training"
    assert f"{last} {training:.4g}" in picture.locator(".reading title").last.text_content()  # type: ignore[operator]
    assert picture.locator(".reading").count() <= 60
    page.locator("figure.chart summary").first.click()
    row = page.locator("figure.chart tbody tr").filter(has_text=re.compile("^400")).first
    assert row.is_visible()
    assert f"{training:.4g}" in row.inner_text()
    assert noticed == []
    page.close()


def test_on_paper_what_can_be_opened_is_open(browser: Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, tmp_path, build(samples.material()))
    row = page.locator("figure.chart tbody tr").first
    assert not row.is_visible()
    page.emulate_media(media="print")
    assert row.is_visible()
    page.close()


@pytest.mark.parametrize("name", ["material", "hostile", "nothing"])
@pytest.mark.parametrize("width", [360, 1200])
def test_whatever_was_said_is_text_and_fits_the_screen(browser: Browser, tmp_path: Path, name: str, width: int) -> None:
    report = build(getattr(samples, name)())
    page, noticed = opened(browser, tmp_path, report, viewport={"width": width, "height": 800})
    assert noticed == []
    assert page.locator("script").count() == 0
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == f"{report.verdict.title} \N{EN DASH} {report.title}"
    if name == "hostile":
        assert page.get_by_text("</script><script>alert(3)</script>").first.is_visible()
        assert samples.HOSTILE in page.locator("h1").inner_text()
    page.close()
