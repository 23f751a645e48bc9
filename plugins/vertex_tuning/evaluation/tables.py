"""Tables as text, for logs and errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows as a text table.

    :param headers: titles of the columns
    :param rows: cells of each row; numbers are shown with four digits, None as a dash
    """
    # Imported here: the import takes 0.1 s, and Airflow parses DAG files all the time.
    from tabulate import tabulate

    cells = [[_cell(value) for value in row] for row in rows]
    return str(tabulate(cells, headers=headers, disable_numparse=True))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
