"""A mail server behind the connection `smtp_default`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mail_server import MailServer, running_mail_server
from tests.support.notifiers import RECEIVED


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with running_mail_server() as server:
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server.connection)
        yield server


@pytest.fixture(autouse=True)
def nothing_received() -> None:
    RECEIVED.clear()
