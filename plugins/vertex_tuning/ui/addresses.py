"""Addresses of the page *Tunings*."""

from __future__ import annotations

from typing import Final

URL_PREFIX: Final = "/vertex-tuning"
"""Path of the application below the base URL of the API server. `static/tunings.js` names it, too."""

PAGE: Final = "tunings"
"""Last part of the page's address in Airflow's UI: `/plugin/tunings`."""
