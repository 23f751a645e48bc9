"""Limits of the tuning service for datasets.

Sources:

- [1] https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning, "Limitations"
- [2] https://github.com/google/skills, agent-platform-tuning, data_prep.md, which Google wrote for open models
"""

from __future__ import annotations

from typing import Final

from vertex_tuning.costs.media import MAX_EXAMPLE_TOKENS as MAX_EXAMPLE_TOKENS

MAX_DATASET_BYTES: Final = 10**9
"""Largest training file in bytes. [1] says "1 GB"; this is the smaller interpretation."""
MAX_ROWS: Final = 10_000_000
"""Most examples of a dataset with text only [1]."""
MAX_MULTIMODAL_ROWS: Final = 300_000
"""Most examples of a dataset in which some examples have files [1]."""
MAX_VALIDATION_ROWS: Final = 5000
"""Most validation examples [1]."""
FREE_VALIDATION_ROWS: Final = 1000
"""Validation examples that are always allowed [1]. For more examples `MAX_VALIDATION_SHARE` is the limit."""
MAX_VALIDATION_SHARE: Final = 0.30
"""Most validation examples as a share of the training examples [1]."""
MAX_VALIDATION_BYTES_SHARE: Final = 0.25
"""Largest validation file as a share of the training file. [2] reports that 25.03 % were refused."""

MAX_LINE: Final = 4 * 2**20
"""Longest line in bytes. This project's own limit, for bounded memory: a decoded row takes up to 20 times as much.

131,072 tokens need less, even if each character is escaped.
"""
MAX_READ: Final = 4 * MAX_DATASET_BYTES
"""Most bytes that are read of a dataset. This project's own limit.

It is above `MAX_DATASET_BYTES` because other formats are larger before the conversion. It is needed because a small
gzip file can contain any number of bytes.
"""
