"""What we counted in a dataset, held against what Vertex AI counted in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vertex_tuning.costs.token_estimate import ESTIMATE_TOLERANCE, ESTIMATED
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.plain_text import plain

TOLERANCE: Final = 0.02
"""Largest difference between the two counts that is passed over, as a share of the service's; estimates may be off by
what is said of them."""

REASONS_SHOWN: Final = 5


def compare_with_service(summary: Mapping[str, Any], job: TuningJob) -> list[str]:
    """Warnings about rows the service left out and counts that differ from ours; none while it has not counted yet.

    :param summary: `training` of what the upload task returned: `rows`, `tokens`, and in `counted` how these were
    """
    stats = job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    if not stats:
        return []
    warnings = []
    counted = f" ({summary['counted']})" if summary.get("counted") else ""
    if dropped := stats.total_truncated_example_count:
        reasons = (
            "; ".join(map(plain, sorted(set(stats.dropped_example_reasons))[:REASONS_SHOWN])) or "it does not say why"
        )
        warnings.append(f"Vertex AI dropped or cut {dropped} of {summary['rows']} training examples: {reasons}")
    promised = ESTIMATE_TOLERANCE if summary.get("counted") == ESTIMATED else TOLERANCE
    for what, ours, theirs, tolerance in (
        ("training examples", summary["rows"], stats.tuning_dataset_example_count, TOLERANCE),
        (f"billable tokens{counted}", summary["tokens"], stats.total_billable_token_count, promised),
    ):
        if theirs is not None and abs(ours - theirs) > tolerance * theirs:
            difference = f": {(ours - theirs) / theirs:+.1%}" if theirs else ""
            warnings.append(f"We counted {ours:,} {what}, Vertex AI {theirs:,}{difference}.")
    return warnings
