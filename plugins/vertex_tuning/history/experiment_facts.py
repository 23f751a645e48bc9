"""Parameters and values of a run for the experiment of its tuning. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.report.material import Material

Facts = dict[str, str | float]

MEASURED_VALUES_KEPT: Final = 200
"""Most measured values of a run; most runs have about 50."""


def experiment_params(record: RunRecord, deployment: str) -> Facts:
    """Data and settings of a run; unknown ones are left out.

    :param deployment: id of the Airflow installation
    """
    facts = {
        "base_model": record.base_model,
        "dataset_hash": record.dataset_hash,
        "examples": record.examples,
        "epochs": record.epochs,
        "learning_rate_multiplier": record.learning_rate_multiplier,
        "adapter_size": record.adapter_size,
        "dag_id": record.dag_id,
        "run_id": record.run_id,
        "deployment": deployment,
        "job": record.job,
    }
    return _known(facts)


def experiment_values(given: Material, record: RunRecord) -> Facts:
    """Verdict of a run, with all values that gates and the promotion rule can use; unknown ones are left out."""
    gain = record.gain
    facts = {
        "verdict": record.outcome,
        "model": record.model,
        "compared_model": record.compared_model,
        "gain": gain.observed if gain else None,
        "gain_lower": gain.lower if gain else None,
        "gain_upper": gain.upper if gain else None,
        "cost": record.cost,
        "currency": record.currency,
        "tokens": record.tokens,
        "report": record.report_uri,
    }
    measured = dict(given.metrics.values) if given.metrics else {}
    compared = given.evaluation.comparison.values if given.evaluation else {}
    for name, values in compared.items():
        sides = {name: values.challenger, f"champion.{name}": values.champion, f"baseline.{name}": values.baseline}
        measured |= {side: value for side, value in sides.items() if value is not None}
    return _known(facts) | dict(list(_known(measured).items())[:MEASURED_VALUES_KEPT])


def _known(facts: Mapping[str, str | float | None]) -> Facts:
    return {
        name: value
        for name, value in facts.items()
        if value not in (None, "") and not (isinstance(value, float) and not math.isfinite(value))
    }
