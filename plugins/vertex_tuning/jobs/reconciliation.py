"""Compare our counts of a dataset with the counts of Vertex AI. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vertex_tuning.costs.token_estimate import ESTIMATE_TOLERANCE, ESTIMATED, FILES_AT_LEAST
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.text.plain_text import plain

TOLERANCE: Final = 0.02
"""Largest difference of two counts without a warning, as a share of the service's count.

For estimated tokens `ESTIMATE_TOLERANCE` applies instead.
"""

REASONS_SHOWN: Final = 5


def compare_with_service(summary: Mapping[str, Any], job: TuningJob) -> list[str]:
    """Warn about rows that the service left out, and about counts that differ from ours.

    There are no warnings while the service has not counted yet.

    :param summary: `training` in the result of the upload task: `rows`, `tokens`, and in `counted` the method of
        counting tokens
    :param job: the tuning job, with the service's counts in `tuningDataStats`
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
    how = summary.get("counted") or ""
    token_tolerance = ESTIMATE_TOLERANCE if how.startswith(ESTIMATED) else TOLERANCE
    for unit, count, service_count, tolerance in (
        ("training examples", summary["rows"], stats.tuning_dataset_example_count, TOLERANCE),
        (f"billable tokens{counted}", summary["tokens"], stats.total_billable_token_count, token_tolerance),
    ):
        if how.endswith(FILES_AT_LEAST) and unit.startswith("billable") and service_count and count < service_count:
            continue
        if service_count is not None and abs(count - service_count) > tolerance * service_count:
            difference = f": {(count - service_count) / service_count:+.1%}" if service_count else ""
            warnings.append(f"We counted {count:,} {unit}, Vertex AI {service_count:,}{difference}.")
    return warnings
