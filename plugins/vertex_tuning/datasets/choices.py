"""Values that the options of a dataset can have, apart from the options: the readers need no configuration. Pure."""

from __future__ import annotations

from typing import Final, Literal

Format = Literal[
    "gemini",
    "messages",
    "chat",
    "csv",
    "fields",
    "sharegpt",
    "alpaca",
    "ai_studio",
    "prompt_completion",
    "palm",
]
"""Format of a file's rows; see `vertex_tuning.datasets.formats`."""

ConsecutiveTurns = Literal["refuse", "join"]
"""What happens to two turns of the same role in a row: the row is refused, or they become one turn."""

MAX_ERRORS: Final = 1_000_000
"""Most errors and dropped rows that are looked for: then the rest of the files is not read."""
