"""The runs before a run, for its report. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vertex_tuning.history.record_text import recorded_score
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.report.content import EarlierRun

EARLIER_SHOWN: Final = 5


def earlier_runs(records: Iterable[RunRecord], key: str) -> list[EarlierRun]:
    """The last runs of a tuning except one.

    :param records: the history of the tuning, newest first
    :param key: key of the run that is left out
    """
    others = [record for record in records if record.key != key]
    return [_earlier(record) for record in others[:EARLIER_SHOWN]]


def _earlier(record: RunRecord) -> EarlierRun:
    return EarlierRun(
        run_id=record.run_id,
        ended=record.ended,
        outcome=record.outcome,
        title=record.title,
        model=record.model,
        value=record.value,
        score=recorded_score(record),
        url=record.report_url or record.run_url or None,
    )
