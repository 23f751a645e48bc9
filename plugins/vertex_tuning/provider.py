"""What Airflow shows of this package when it is installed as a provider: `airflow providers get`.

Airflow calls this module while it reads its own configuration, so it imports nothing of Airflow.
"""

from __future__ import annotations

from typing import Any, Final

DISTRIBUTION: Final = "airflow-provider-vertex-tuning"
"""Name of the wheel."""

INTEGRATION: Final = "Gemini tuning on Vertex AI"

OPERATORS: Final = (
    "dataset",
    "tuning_job",
    "metrics",
    "sweep",
    "smoke_test",
    "evaluation",
    "approval",
    "registry",
    "housekeeping",
    "notification",
    "report",
)
HOOKS: Final = ("connection", "genai", "model_registry", "experiments", "storage")
LINKS: Final = ("TuningJobLink", "ExperimentLink", "ReportLink")


def get_provider_info() -> dict[str, Any]:
    """The description of this package, in the form of Airflow's `provider_info.schema.json`."""
    return {
        "package-name": DISTRIBUTION,
        "name": INTEGRATION,
        "description": "Retrains Gemini models on Vertex AI: checks, prices, trains, tests, compares and promotes.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/models/tune-models",
                "tags": ["gcp", "ai"],
            }
        ],
        "hooks": [_modules(*(f"hooks.{name}" for name in HOOKS))],
        "operators": [_modules(*(f"operators.{name}" for name in OPERATORS))],
        "sensors": [_modules("sensors")],
        "triggers": [_modules("triggers", "new_data")],
        "extra-links": [f"vertex_tuning.links.{name}" for name in LINKS],
        "config": {
            "vertex_tuning": {
                "description": "Options of the package vertex_tuning, which retrains Gemini models on Vertex AI.",
                "options": OPTIONS,
            }
        },
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": INTEGRATION, "python-modules": [f"vertex_tuning.{name}" for name in names]}


def _option(default: str, description: str, example: str, kind: str = "string") -> dict[str, Any]:
    return {
        "description": f"{description}\n",
        "version_added": "1.0.0",
        "type": kind,
        "example": example,
        "default": default,
    }


OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "deployment": _option(
        "",
        "Name of this Airflow installation: 1 to 40 lower-case letters, digits, _ and -. Each installation that uses\n"
        "one Google project needs a different name. If empty, it is a digest of the Fernet key that the environment\n"
        "sets.",
        "production",
    ),
    "poll_interval": _option(
        "60", "Seconds between two polls of a tuning job; at least 1 for the real service.", "30", "float"
    ),
    "retry_delay": _option(
        "60",
        "Seconds before the first retry of a task of the package's DAGs. The delay doubles with each retry, up to 30\n"
        "minutes.",
        "120",
        "float",
    ),
    "tunings_dirs": _option(
        "", "Further folders with tuning files, besides include/tunings; separated by colons.", "/opt/our-tunings"
    ),
    "dataset_dirs": _option(
        "",
        "Further folders that local datasets may be read from, besides the project's folder; separated by colons.",
        "/opt/our-data",
    ),
    "live_jobs": _option(
        "True",
        "Whether the page *Tunings* of Airflow's UI reads jobs and models from Vertex AI, with the connection of the\n"
        "tasks. Without it, the page shows only what ended runs have written to the bucket.",
        "False",
        "boolean",
    ),
    "prices": _option(
        "", "File with the prices of tuning. If empty, the package's prices.yaml.", "/opt/our-tables/prices.yaml"
    ),
    "base_models": _option(
        "",
        "File with the base models that can be tuned, and their retirement dates. If empty, the package's\n"
        "base_models.yaml.",
        "/opt/our-tables/base_models.yaml",
    ),
    "locations": _option(
        "",
        "File with Google Cloud's locations. If empty, the package's locations.yaml.",
        "/opt/our-tables/locations.yaml",
    ),
    "media": _option(
        "",
        "File with the kinds of media that a dataset may have. If empty, the package's media.yaml.",
        "/opt/our-tables/media.yaml",
    ),
}
"""Options of the section `[vertex_tuning]`. A default is that of the code that reads the option."""
