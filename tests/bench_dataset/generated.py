"""Rows like those of Google's own tuning samples: an instruction, a request of some length, a shorter answer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

_TEXT: Final = """the customer wrote that their order has not arrived and asks whether it can be sent again or refunded
before the end of this week because they are going away please answer politely with a reference number"""
_WORDS: Final = _TEXT.split()
_INSTRUCTION: Final = {"parts": [{"text": "Summarise the customer's message in one or two sentences."}]}
_REQUEST_WORDS: Final = 120
_FOREIGN_EVERY: Final = 10


def write(path: Path, rows: int, words: float = _REQUEST_WORDS) -> None:
    """About 900 bytes a row: lengths are log-normal; line breaks, quotes and, in one of ten, other scripts occur.

    :param words: of a request, in the mean
    """
    generator = random.Random(1)
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps(_row(generator, number, words), ensure_ascii=False) + "\n")


def _row(generator: random.Random, number: int, words: float) -> dict[str, object]:
    length = max(3, int(generator.lognormvariate(-0.18, 0.6) * words))
    request = " ".join(generator.choices(_WORDS, k=length)).capitalize() + f'.\nMy order is "{number}".'
    if number % _FOREIGN_EVERY == 0:
        request += " Déjà vu, 你好 😀"
    answer = " ".join(generator.choices(_WORDS, k=max(1, length // 8))) + "."
    turns = [{"role": role, "parts": [{"text": text}]} for role, text in (("user", request), ("model", answer))]
    return {"systemInstruction": _INSTRUCTION, "contents": turns}
