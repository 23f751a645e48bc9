"""Where the project, and data that lies beside it, is found."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PROJECT_DIR: Final = Path(__file__).resolve().parents[2]
PRICES: Final = PROJECT_DIR / "plugins" / "vertex_tuning" / "data" / "prices.yaml"
SUPPORT_TRIAGE: Final = PROJECT_DIR / "include" / "data" / "support_triage" / "training.jsonl"
BAD_DATASETS: Final = PROJECT_DIR / "tests" / "data" / "bad_datasets"
BANKING77: Final = PROJECT_DIR.parent / "shared" / "data" / "banking77"
"""Real data, too large for the project; tests that use it are skipped where it is absent."""
