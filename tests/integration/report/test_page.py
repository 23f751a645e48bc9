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


INK = """canvas => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const seen = new Set();
    for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 3] > 250) seen.add(pixels.slice(at, at + 3).join());
    return [...seen];
}"""


@pytest.mark.parametrize(
    ("scheme", "blue", "amber"), [("light", "31,99,198", "181,80,11"), ("dark", "125,179,255", "245,165,96")]
)
def test_curves_are_drawn_and_nothing_leaves_the_page(
    browser: Browser, tmp_path: Path, scheme: str, blue: str, amber: str
) -> None:
    page, noticed = opened(browser, tmp_path, build(samples.material()), color_scheme=scheme)
    assert page.locator("canvas").count() == 2
    for canvas in page.locator("canvas").all():
        assert {blue, amber} <= set(canvas.evaluate(INK))
    assert not page.locator("svg.picture").first.is_visible()
    page.evaluate("fetch('https://example.com/').catch(() => {})")
    assert [text for text in noticed if "Content Security Policy" not in text and "example.com" not in text] == []
    assert any("Content Security Policy" in text for text in noticed)
    page.close()


def test_values_are_shown_under_the_mouse_and_a_part_can_be_zoomed_into(browser: Browser, tmp_path: Path) -> None:
    page, noticed = opened(browser, tmp_path, build(samples.material()))
    legend, chart = page.locator(".u-legend").first, page.locator(".u-over").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box
    assert "400" in legend.inner_text()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    step = int(re.search(r"Step\s*(\d+)", legend.inner_text())[1])  # type: ignore[index]
    assert 198 <= step <= 203
    assert f"{samples.series()[0].points[step - 1].value:.4g}" in legend.inner_text()
    ticks_before = page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("button", name="Zoom in").first.click()
    page.wait_for_timeout(50)
    assert page.locator("canvas").first.evaluate("canvas => canvas.toDataURL()") != ticks_before
    page.get_by_role("button", name="Whole run").first.click()
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert "397" in legend.inner_text()
    assert noticed == []
    page.close()


def test_without_scripts_and_on_paper_the_curves_are_pictures(browser: Browser, tmp_path: Path) -> None:
    report = build(samples.material())
    page, noticed = opened(browser, tmp_path, report, java_script_enabled=False)
    assert page.locator("svg.picture").count() == 2
    assert page.locator("svg.picture").first.is_visible()
    assert page.locator("svg.picture path.line").count() == 4
    assert page.locator("svg.picture path.checkpoint").count() == 8
    assert noticed == []
    page.close()
    page, _ = opened(browser, tmp_path, report)
    page.emulate_media(media="print")
    assert page.locator("svg.picture").first.is_visible()
    assert not page.locator(".plot").first.is_visible()
    page.close()


@pytest.mark.parametrize("name", ["material", "hostile", "nothing"])
@pytest.mark.parametrize("width", [360, 1200])
def test_whatever_was_said_is_text_and_fits_the_screen(browser: Browser, tmp_path: Path, name: str, width: int) -> None:
    report = build(getattr(samples, name)())
    page, noticed = opened(browser, tmp_path, report, viewport={"width": width, "height": 800})
    assert noticed == []
    assert page.locator("script").count() == 3
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == f"{report.verdict.title} \N{EN DASH} {report.title}"
    if name == "hostile":
        assert page.get_by_text("</script><script>alert(3)</script>").first.is_visible()
        assert samples.HOSTILE in page.locator("h1").inner_text()
    page.close()
