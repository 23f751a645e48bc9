"""What the tuning service takes, in numbers.

Sources: [1] https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning,
"Limitations"; [2] https://github.com/google/skills, agent-platform-tuning, data_prep.md (Google's, but written for open
models).
"""

from __future__ import annotations

from typing import Final

MAX_DATASET_BYTES: Final = 10**9
"""Training file, [1]: "1 GB"; the smaller reading of it."""
MAX_ROWS: Final = 10_000_000
"""Examples of text only, [1]."""
MAX_MULTIMODAL_ROWS: Final = 300_000
"""Examples when any of them has files, [1]."""
MAX_EXAMPLE_TOKENS: Final = 131_072
"""Input and output of one example together, [1]. Longer ones are cut or dropped without a word."""
MAX_VALIDATION_ROWS: Final = 5000
"""Validation examples, [1]."""
FREE_VALIDATION_ROWS: Final = 1000
"""So many are always allowed, [1]; more of them only up to the next share."""
MAX_VALIDATION_SHARE: Final = 0.30
"""Of the training examples, [1]."""
MAX_VALIDATION_BYTES_SHARE: Final = 0.25
"""Of the training file, [2]: refused at 25.03 %."""

MAX_LINE: Final = 16 * 2**20
"""Bytes of one line, ours: 131,072 tokens never need as much, and memory must be bounded."""
MAX_READ: Final = 4 * MAX_DATASET_BYTES
"""Bytes read of one dataset, ours: other formats are larger than what becomes of them, and gzip can hide anything."""
