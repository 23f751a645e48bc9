"""The report's page in a browser: safe and readable wherever it is opened.

In a file of its own, because Playwright's event loop runs until the end of the module.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from itertools import combinations
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_gain_is_a_picture_that_needs_no_colour(browser: Browser, tmp_path: Path, scheme: str, width: int) -> None:
    context = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "java_script_enabled": False}
    page, noticed = opened(browser, tmp_path, build(samples.compared()), **context)
    figure = page.locator("figure.gain")
    words = figure.inner_text()
    for part in ("Gain -5 percentage points", "Limit -2", "95 % confidence", "new model worse", "new model better"):
        assert part in words, part
    picture = figure.locator("svg.picture")
    labels = picture.locator("text.number, text.name")
    assert labels.all_text_contents() == ["limit", "equal", "-8.36", "-1.86", "-5"]
    frame = picture.bounding_box()
    boxes = [label.bounding_box() for label in labels.all()]
    assert frame
    for box in boxes:
        assert box
        assert frame["x"] <= box["x"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"]
    for first, second in combinations(boxes, 2):
        assert not overlap(first, second)
    # The limit is dashed and the zero line is not.
    dashes = [
        picture.locator(f"path.{name}").evaluate("line => getComputedStyle(line).strokeDasharray")
        for name in ("limit", "zero")
    ]
    assert dashes[0] != "none" == dashes[1]
    assert noticed == []
    page.close()


def overlap(first: Any, second: Any) -> bool:
    """Whether two boxes share an area."""
    return bool(
        first["x"] < second["x"] + second["width"]
        and second["x"] < first["x"] + first["width"]
        and first["y"] < second["y"] + second["height"]
        and second["y"] < first["y"] + first["height"]
    )


def test_a_confusion_matrix_marks_right_answers_and_can_be_scrolled(browser: Browser, tmp_path: Path) -> None:
    page, _ = opened(browser, tmp_path, build(samples.compared()), viewport={"width": 390, "height": 800})
    rows = page.locator("table.matrix tbody tr")
    assert rows.all_inner_texts() == ["1 billing\t57\t·\t7\t3", "2 shipping\t7\t57\t·\t3", "3 account\t·\t6\t56\t4"]
    assert page.locator("table.matrix .right-answer").all_inner_texts() == ["57", "57", "56"]
    scores = page.locator("table.label-scores tbody tr").first.inner_text()
    assert re.findall(r"\S+(?: %)?", scores) == [
        "1", "billing", "67", "89 %", "85 %", "87 %", "90 %", "90 %", "90 %"
    ]  # fmt: skip
    page.close()


@pytest.mark.parametrize("name", ["material", "hostile", "nothing", "compared", "first", "hostile_rows"])
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
