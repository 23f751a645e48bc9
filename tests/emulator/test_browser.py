"""What a real browser lets web pages do to the emulator: follow links to it, and nothing else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.emulator.jobs import create, upload_datasets
from tests.emulator.vertex import Vertex
from tests.support.emulator import running_emulator, upload

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (Debian: apt-get install chromium)")

RESET: Final = """async url => {
    try { return (await fetch(url + '/_internal/reset', {method: 'POST', mode: 'no-cors'})).status }
    catch (error) { return 'refused' }
}"""
REPORT: Final = b"""<p id=origin></p><p id=told></p><a href="/storage/v1/b/bucket/o/next?alt=media">Next</a>
<script>
    document.getElementById('origin').textContent = window.origin
    fetch('/_internal/state').then(got => got.text(), () => 'refused').then(
        got => { document.getElementById('told').textContent = got })
    fetch('/_internal/reset', {method: 'POST', mode: 'no-cors'})
</script>"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    """An emulator of this module's own: what is tried here would empty it."""
    with running_emulator() as url:
        yield url


@pytest.fixture
def job(emulator: str) -> str:
    """The name of a tuning job in an emulator that also holds a report."""
    with Vertex(emulator) as vertex:
        upload_datasets(vertex)
        store(emulator, "report.html", REPORT, "text/html")
        store(emulator, "next", b"the next page", "text/plain")
        name: str = create(vertex)["name"]
    return name


def store(url: str, name: str, content: bytes, content_type: str) -> None:
    upload(url, "gs://bucket/empty", b"")
    where = {"uploadType": "media", "name": name}
    headers = {"content-type": content_type}
    path = f"{url}/upload/storage/v1/b/bucket/o"
    httpx.post(path, params=where, content=content, headers=headers).raise_for_status()


def report_of(url: str) -> str:
    return f"{url}/storage/v1/b/bucket/o/report.html?alt=media"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for which evil.example leads to this machine, as its owner can make it."""
    arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    opened.set_default_timeout(20_000)
    yield opened
    opened.close()


@contextmanager
def site(html: str) -> Iterator[int]:
    """A web server with that one page; its port. Airflow's is another such neighbour."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def job_exists(url: str, job: str) -> bool:
    return httpx.get(f"{url}/v1/{job}").status_code == 200


@pytest.mark.parametrize("target", ["", " target=_blank rel=noreferrer"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_links_of_a_neighbour_are_followed(emulator: str, job: str, page: Page, host: str, target: str) -> None:
    places = {"Report": report_of(emulator), "Job": f"{emulator}/v1/{job}"}
    links = "".join(f"<a href='{place}'{target}>{name}</a> " for name, place in places.items())
    with site(links) as port:
        for name, shown in (("Report", "null"), ("Job", "gemini-2.5-flash")):
            page.goto(f"http://{host}:{port}/")
            if target:
                with page.expect_popup() as opened:
                    page.get_by_text(name).click()
                opened.value.get_by_text(shown).first.wait_for()
                opened.value.close()
            else:
                page.get_by_text(name).click()
                page.get_by_text(shown).first.wait_for()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_a_page_elsewhere_neither_changes_nor_reads_anything(emulator: str, job: str, page: Page, host: str) -> None:
    embedded = f"""<form method=post action='{emulator}/_internal/reset'><button>Win</button></form>
        <iframe src='{report_of(emulator)}'></iframe><script src='{emulator}/v1/{job}'></script>"""
    with site(embedded) as port:
        answers: dict[str, int] = {}
        page.on("response", lambda answer: answers.update({answer.url: answer.status}))
        page.goto(f"http://{host}:{port}/", wait_until="networkidle")
        assert page.evaluate(RESET, emulator) in (0, "refused")
        read = "url => fetch(url + '/_internal/state').then(got => got.text(), () => 'refused')"
        assert page.evaluate(read, emulator) == "refused"
        page.get_by_text("Win").click()
        page.get_by_text("PERMISSION_DENIED").wait_for()
    from_emulator = {status for url, status in answers.items() if url.startswith(emulator)}
    assert from_emulator <= {403}
    assert job_exists(emulator, job)


def test_a_name_that_was_made_to_lead_here_shows_nothing(emulator: str, job: str, page: Page) -> None:
    foreign = emulator.replace("127.0.0.1", "evil.example")
    for path in ("/_internal/state", f"/v1/{job}", "/storage/v1/b/bucket/o/report.html?alt=media"):
        answer = page.goto(foreign + path)
        assert answer
        assert answer.status == 403
    assert page.evaluate(RESET, foreign) in (403, "refused")
    assert job_exists(emulator, job)


def test_a_stored_page_draws_but_does_not_act_as_the_emulator(emulator: str, job: str, page: Page) -> None:
    page.goto(report_of(emulator))
    page.wait_for_function("document.getElementById('told').textContent")
    assert page.inner_text("#origin") == "null"
    assert page.inner_text("#told") == "refused"
    assert job_exists(emulator, job)
    page.get_by_text("Next").click()
    page.get_by_text("the next page").wait_for()


def test_a_person_reads_the_state_by_its_address(emulator: str, job: str, page: Page) -> None:
    page.goto(f"{emulator}/_internal/state")
    assert job in page.inner_text("body")
