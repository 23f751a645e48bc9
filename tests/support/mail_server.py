"""An SMTP server that keeps the mails it receives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.processes import free_port


class MailServer:
    """The server's side of a mail connection.

    :param refusal: what it says to each mail; empty if it takes them
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refusal = ""
        self.port = free_port()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802, ARG002 - a name and arguments of aiosmtpd
        if self.refusal:
            return self.refusal
        self.mails.append(
            message_from_bytes(envelope.original_content or b"", _class=EmailMessage, policy=policy.default)
        )
        self.recipients.append(envelope.rcpt_tos)
        return "250 Taken"

    @property
    def connection(self) -> str:
        """The connection to this server as Airflow reads it."""
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com", "retry_limit": 1}
        return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": self.port, "extra": extra})

    def page(self, index: int = -1) -> str:
        """The HTML of a mail."""
        body = self.mails[index].get_body(("html",))
        assert body is not None
        content: str = body.get_content()
        return content


@contextmanager
def running_mail_server() -> Iterator[MailServer]:
    server = MailServer()
    controller = Controller(server, hostname="127.0.0.1", port=server.port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
