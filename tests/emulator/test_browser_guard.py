"""What a web page elsewhere, and a name that was made to lead here, get from the emulator: nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from include.gcp_emulator.__main__ import parser
from tests.emulator.process import emulator_process
from tests.emulator.storage_support import Http
from tests.support.compose_file import ENV_EXAMPLE, assignments, written
from tests.support.emulator import running_emulator, upload

STATE = "/_internal/state"
JOBS = "/v1/projects/p/locations/us-central1/tuningJobs"
PAGE = b"<script>fetch('/_internal/reset', {method: 'POST'})</script>"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An emulator of this module's own, which holds one page."""
    with running_emulator() as url:
        upload(url, "gs://bucket/page.html", PAGE)
        upload(url, "gs://bucket/train.jsonl", b"{}")
        yield url


def status(url: str, *hosts: str, path: str = STATE, **headers: str) -> int:
    """Status of a GET with just these Host headers."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    for name, value in (*(("Host", host) for host in hosts), *headers.items()):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse().status
    connection.close()
    return answer


# Host


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8085",
        "localhost.:8085",
        "127.0.0.1",
        "127.0.0.1:8085",
        "127.12.0.1:80",
        "[::1]",
        "[::1]:8085",
        "[0:0:0:0:0:0:0:1]:8085",
    ],
)
def test_every_name_of_loopback_is_served(url: str, host: str) -> None:
    assert status(url, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8085",
        "EVIL.example.:8085",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.localhost",
        "evil-localhost:8085",
        "evil.example@localhost",
        "localhost@evil.example",
        "localhost..",
        "localhost:8085:8085",
        "localhost, evil.example",
        "localhost/",
        "192.168.0.7:8085",
        "8.8.8.8",
        "[fe80::1]:8085",
        "[::1",
        "::1",
        "1[27.0.0.1]",
        "[localhost]",
        "2130706433",
        ":8085",
        "",
        "emulator:8085",
        "caf\xe9.example",
    ],
)
def test_every_other_name_is_refused(url: str, host: str) -> None:
    assert status(url, host) == 403


@pytest.mark.parametrize("hosts", [[], ["localhost", "evil.example"], ["localhost", "localhost"]])
def test_there_is_one_host_header(url: str, hosts: list[str]) -> None:
    assert status(url, *hosts) in (400, 403)


@pytest.mark.parametrize(
    "path", ["/_internal/health", "/storage/v1/b?project=p", "/storage/v1/b/bucket/o/page.html?alt=media", JOBS, "/no"]
)
def test_a_foreign_name_reads_nothing_at_all(url: str, path: str) -> None:
    answer = httpx.get(f"{url}{path}", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert "Found Host 'evil.example', expected localhost" in answer.json()["error"]["message"]
    assert "--allowed-host" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def named() -> Iterator[str]:
    with running_emulator(allowed_hosts=("emulator", "[FD00::7]")) as url:
        yield url


@pytest.mark.parametrize("host", ["emulator", "Emulator.:8085", "[fd00::7]:8085", "[fd00:0::7]", "localhost:1"])
def test_a_name_that_was_allowed_is_served(named: str, host: str) -> None:
    assert status(named, host) == 200
    assert status(named, host, Origin=f"http://{host}") == 200
    assert status(named, host, Origin="http://localhost:8080") == 403
    assert status(named, f"evil.{host}") == 403


def test_compose_allows_the_name_its_connection_uses() -> None:
    command: list[str] = written()["services"]["emulator"]["command"]
    connection = json.loads(assignments(ENV_EXAMPLE)["GOOGLE_CLOUD_CONNECTION"].strip("'"))["extra"]
    name = urlsplit(connection["vertex_api_endpoint"]).netloc
    options = [option for option in command if option.startswith("--allowed-host=")]
    with emulator_process(*options) as (_, url):
        assert status(url, name, path="/storage/v1/b?project=p") == 200
        assert status(url, "evil.example", path="/storage/v1/b?project=p") == 403


@pytest.mark.parametrize("name", ["http://emulator", "emulator:8085", "a/b", "", "*", "[::1", "a[::1]"])
def test_an_allowed_host_is_a_name_or_an_address(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([f"--allowed-host={name}"])
    assert f"found {name!r}, expected a host name or an address without scheme and port" in capsys.readouterr().err


# Origin


def origins(url: str) -> list[str]:
    """Origins that are not the emulator's own, `url`."""
    port = int(url.rpartition(":")[2])
    return [
        "https://evil.example",
        "null",
        "",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
        f"https://127.0.0.1:{port}",
        f"{url}.evil.example",
        f"{url}/",
        "http://127.0.0.1",
        "chrome-extension://abc",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/_internal/reset", ""),
        ("POST", "/_internal/faults", '{"error": {"code": 503}}'),
        ("DELETE", "/_internal/requests", ""),
        ("POST", "/upload/storage/v1/b/bucket/o?uploadType=media&name=train.jsonl", "evil"),
        ("PUT", "/upload/storage/v1/b/bucket/o?upload_id=1", "evil"),
        ("POST", "/storage/v1/b?project=p", '{"name": "of-evil"}'),
        ("POST", "/bucket/train.jsonl?uploads", ""),
        ("DELETE", "/storage/v1/b/bucket/o/train.jsonl", ""),
        ("POST", JOBS, "{}"),
        ("POST", "/token", ""),
        ("GET", "/storage/v1/b/bucket/o/train.jsonl?alt=media", ""),
        ("OPTIONS", "/_internal/reset", ""),
    ],
)
def test_a_page_of_another_origin_changes_and_reads_nothing(url: str, method: str, path: str, body: str) -> None:
    for origin in origins(url):
        headers = {"origin": origin, "content-type": "text/plain"}
        answer = httpx.request(method, f"{url}{path}", content=body, headers=headers)
        assert answer.status_code == 403, (origin, answer.text)
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert httpx.get(f"{url}/storage/v1/b/bucket/o/train.jsonl", params={"alt": "media"}).text == "{}"
    assert httpx.get(f"{url}/_internal/faults").json() == {"faults": []}


def test_two_origins_are_not_one(url: str) -> None:
    assert httpx.get(f"{url}{STATE}", headers=[("origin", url), ("origin", "null")]).status_code == 403


@pytest.mark.parametrize("spelt", [str.lower, str.upper])
def test_the_own_origin_is_served(url: str, spelt: Any) -> None:
    own = {"origin": spelt(url), "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
    assert httpx.get(f"{url}{STATE}", headers=own).status_code == 200
    assert httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={}, headers=own).status_code == 400


# Sec-Fetch-Site

LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-user": "?1"}
OBJECT = "/storage/v1/b/bucket/o/page.html?alt=media"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "anything", "same-origin, cross-site"])
@pytest.mark.parametrize(
    ("mode", "dest"),
    [("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe"), ("navigate", "embed")],
)
def test_what_a_page_elsewhere_embeds_or_fetches_is_refused(url: str, site: str, mode: str, dest: str) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    for path in (OBJECT, STATE, JOBS):
        assert httpx.get(f"{url}{path}", headers=headers).status_code == 403
    assert httpx.get(f"{url}{JOBS}", headers={"sec-fetch-site": site}).status_code == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
@pytest.mark.parametrize("path", [OBJECT, JOBS, "/storage/v1/b?project=p"])
def test_a_link_from_elsewhere_can_be_followed(url: str, site: str, path: str) -> None:
    assert httpx.get(f"{url}{path}", headers={**LINK, "sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", STATE), ("GET", "/%5finternal/state"), ("POST", "/_internal/reset"), ("POST", JOBS), ("HEAD", OBJECT)],
)
def test_a_form_or_a_link_to_the_controls_is_not(url: str, site: str, method: str, path: str) -> None:
    assert httpx.request(method, f"{url}{path}", headers={**LINK, "sec-fetch-site": site}).status_code == 403


def test_an_address_that_a_person_types_is_served(url: str) -> None:
    assert httpx.get(f"{url}{STATE}", headers={**LINK, "sec-fetch-site": "none"}).status_code == 200


# What an object may do in a browser


def boxed(answer: httpx.Response) -> bool:
    """Whether a browser neither lets the content act as the emulator nor takes it for another type than is said."""
    (policy,) = answer.headers.get_list("content-security-policy")
    tokens = policy.split()
    assert tokens[0] == "sandbox"
    assert not {"allow-same-origin", "allow-forms", "allow-top-navigation"} & set(tokens)
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"]
    return True


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "text/xml", "application/pdf", "text/plain"])
def test_an_object_is_boxed_on_every_way_it_is_served(http: Http, content_type: str) -> None:
    http.upload("page", PAGE, {"content-type": content_type}).raise_for_status()
    path = http.object("page")
    ways: list[tuple[str, dict[str, str]]] = [
        (f"{path}?alt=media", {}),
        (f"/download{path}?alt=media", {}),
        (f"{path}?alt=media", {"range": "bytes=0-9"}),
        (f"{path}?alt=media", {"range": "bytes=999999-"}),
        (path, {}),
    ]
    statuses = []
    for way, headers in ways:
        answer = http.client.get(way, headers=headers)
        assert answer.headers["content-type"] == content_type or way == path or answer.status_code == 416
        assert boxed(answer)
        statuses.append(answer.status_code)
    assert statuses == [200, 200, 206, 416, 200]


def test_so_is_one_that_is_decompressed(http: Http) -> None:
    http.upload("page", gzip.compress(PAGE), contentEncoding="gzip").raise_for_status()
    answer = http.client.get(http.object("page"), params={"alt": "media"}, headers={"accept-encoding": "identity"})
    assert answer.content == PAGE
    assert boxed(answer)


def test_so_is_every_other_answer(url: str) -> None:
    fault = {"resource": "/faulty", "error": {"message": PAGE.decode(), "headers": {"content-type": "text/html"}}}
    httpx.post(f"{url}/_internal/faults", json=fault).raise_for_status()
    answers = [
        httpx.get(f"{url}/_internal/health"),
        httpx.get(f"{url}/bucket/page.html?uploadId=1"),
        httpx.get(f"{url}/<script>"),
        httpx.get(f"{url}{JOBS}/faulty"),
        httpx.get(f"{url}{STATE}", headers={"origin": "null"}),
        httpx.post(f"{url}/batch/storage/v1"),
    ]
    httpx.delete(f"{url}/_internal/faults")
    assert all(map(boxed, answers))
    assert [answer.status_code for answer in answers] == [200, 404, 404, 503, 403, 400]
