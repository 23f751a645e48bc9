"""Who sees what of the page Tunings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.integration.ui.conftest import Ask

PAGES = ("/", "/retrain_alpha")
JSON = ("/api/tunings", "/api/tunings/retrain_alpha")


def test_a_user_sees_the_cards_of_the_dags_that_they_may_read(ask: Ask, keep: Callable[..., Any]) -> None:
    keep(1, "alpha", title="Seen by alpha")
    keep(1, "beta", title="Seen by beta")
    for path in ("/", "/api/tunings"):
        shown = ask(path, "alpha").text
        assert "alpha" in shown
        assert "Seen by alpha" in shown
        assert "beta" not in shown
        everything = ask(path).text
        assert "Seen by alpha" in everything
        assert "Seen by beta" in everything


@pytest.mark.parametrize("path", ["/retrain_beta", "/api/tunings/retrain_beta"])
def test_a_user_without_access_gets_neither_page_nor_json(path: str, ask: Ask, keep: Callable[..., Any]) -> None:
    keep(1, "beta", title="A secret of beta")
    for asked in (path, f"{path}?dag_id=retrain_alpha", f"{path}?dag_id=~"):
        refused = ask(asked, "alpha")
        assert refused.status_code == 403
        assert "secret of beta" not in refused.text
    assert ask(path, "beta").status_code == 200


@pytest.mark.parametrize("path", [*PAGES, *JSON])
def test_a_user_who_may_not_read_runs_gets_nothing(path: str, ask: Ask) -> None:
    assert ask(path, "noruns").status_code == 403


@pytest.mark.parametrize("path", [*PAGES, *JSON, "/retrain_nothing", "/api/tunings/retrain_nothing"])
def test_nobody_gets_anything_without_signing_in(path: str, ask: Ask, server: TestClient) -> None:
    refused = ask(path, None)
    assert refused.status_code == server.get("/api/v2/dags").status_code == 401
    assert "alpha" not in refused.text
    forged = server.get(f"/vertex-tuning{path}", headers={"Authorization": "Bearer e30.e30.e30"})
    assert forged.status_code in (401, 403)


def test_the_page_for_nobody_leads_to_airflows_sign_in(ask: Ask, server: TestClient) -> None:
    shown = ask("/", None).text
    assert 'href="../api/v2/auth/login?next=%2Fplugin%2Ftunings" target="_top"' in shown
    assert server.get("/api/v2/auth/login?next=%2Fplugin%2Ftunings").status_code == 307


@pytest.mark.parametrize("path", ["/retrain_nothing", "/rollback_alpha", "/retrain_alpha%00", "/docs", "/x/y"])
def test_what_there_is_not_is_not_found(path: str, ask: Ask) -> None:
    assert ask(path).status_code == 404


@pytest.mark.parametrize("path", [*PAGES, *JSON])
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nothing_can_be_changed(path: str, method: str, ask: Ask, server: TestClient) -> None:
    assert server.request(method, f"/vertex-tuning{path}").status_code == 405
