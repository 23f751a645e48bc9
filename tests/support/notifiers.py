"""Notifiers of somebody's own, as a tuning may name them."""

from __future__ import annotations

import sys
import time
from typing import Any

from airflow.sdk import BaseNotifier

RECEIVED: list[dict[str, Any]] = []
"""The arguments of each message, as they were rendered."""


class KeepingNotifier(BaseNotifier):
    """Keeps what it sends."""

    template_fields = ("text", "channel")

    def __init__(self, channel: str, text: str = "nothing", level: int = 0) -> None:
        super().__init__()
        self.channel, self.text, self.level = channel, text, level

    def notify(self, context: Any) -> None:  # noqa: ARG002 - of Airflow
        RECEIVED.append({"channel": self.channel, "text": self.text, "level": self.level})


class RaisingNotifier(BaseNotifier):
    def __init__(self, token: str = "") -> None:
        super().__init__()
        self.token = token

    def notify(self, context: Any) -> None:  # noqa: ARG002 - of Airflow
        raise RuntimeError(f"https://user:{self.token}@chat.example/hook?key={self.token} refused the message")


class LeavingNotifier(BaseNotifier):
    def notify(self, context: Any) -> None:  # noqa: ARG002 - of Airflow
        sys.exit(3)


class HangingNotifier(BaseNotifier):
    def notify(self, context: Any) -> None:  # noqa: ARG002 - of Airflow
        time.sleep(100)
