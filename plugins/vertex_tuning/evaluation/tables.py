"""Tables as text, for logs and errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def text_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their headers; numbers with four digits, what is not known as a dash."""
    # Only where a table is made: it takes a tenth of a second, and DAG files are parsed all the time.
    from tabulate import tabulate

    cells = [[_cell(value) for value in row] for row in rows]
    return str(tabulate(cells, headers=headers, disable_numparse=True))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
