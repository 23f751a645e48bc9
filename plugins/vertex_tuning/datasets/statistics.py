"""Statistics of the lengths of examples, as in the `tuningDataStats` of Vertex AI. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from vertex_tuning.results import Bucket, Distribution, Statistics

Counts = Mapping[int, int]
"""Number of occurrences of each value."""

BUCKETS: Final = 10
_BAR: Final = 40


def statistics(inputs: Counts, outputs: Counts, messages: Counts) -> Statistics:
    """Compute the statistics of a dataset.

    :param inputs: number of examples by number of input tokens
    :param outputs: number of examples by number of output tokens
    :param messages: number of examples by number of turns
    """
    return Statistics(
        sum(messages.values()),
        _sum(inputs) + _sum(outputs),
        *(distribution(values) if values else None for values in (inputs, outputs, messages)),
    )


def distribution(counts: Counts) -> Distribution:
    """Compute the distribution of values.

    :param counts: number of occurrences of each value; not empty
    """
    values = sorted(counts)
    ends = list(accumulate(counts[value] for value in values))
    total = _sum(counts)
    p5, median, p95 = (percentile(values, ends, share) for share in (0.05, 0.5, 0.95))
    return Distribution(
        total, values[0], values[-1], total / ends[-1], median, p5, p95, _buckets(counts, values[0], values[-1])
    )


def percentile(values: list[int], ends: list[int], share: float) -> float:
    """Compute a percentile, interpolated linearly.

    :param values: different values, ascending
    :param ends: for each of these values the number of occurrences that are equal to it or smaller
    :param share: the percentile as a share, from 0 to 1
    """
    place = share * (ends[-1] - 1)
    low = values[bisect_right(ends, int(place))]
    high = values[bisect_right(ends, min(int(place) + 1, ends[-1] - 1))]
    return low + (high - low) * (place - int(place))


def _sum(counts: Counts) -> int:
    return sum(value * count for value, count in counts.items())


def _buckets(counts: Counts, low: int, high: int) -> list[Bucket]:
    """At most `BUCKETS` buckets of equal width, which is a whole number."""
    values = high - low + 1
    width = -(-values // BUCKETS)
    filled = [0] * -(-values // width)
    for value, count in counts.items():
        filled[(value - low) // width] += count
    return [Bucket(count, low + width * n, low + width * (n + 1)) for n, count in enumerate(filled)]


def draw(statistics: Statistics) -> str:
    """A table and a small histogram of each distribution, for a log."""
    named = {
        "input tokens": statistics.user_input_token_distribution,
        "output tokens": statistics.user_output_token_distribution,
        "turns": statistics.user_message_per_example_distribution,
    }
    head = f"{'per example':<14}" + "".join(
        f"{name:>12}" for name in ("min", "p5", "median", "mean", "p95", "max", "sum")
    )
    present = {name: value for name, value in named.items() if value}
    lines = [head, *(_table_row(name, value) for name, value in present.items())]
    for name, value in present.items():
        lines += ["", name, *_histogram(value.buckets)]
    return "\n".join(lines)


def _table_row(name: str, d: Distribution) -> str:
    cells = (d.min, d.p5, d.median, d.mean, d.p95, d.max, d.sum)
    return f"{name:<14}" + "".join(f"{cell:>12,.1f}" if isinstance(cell, float) else f"{cell:>12,}" for cell in cells)


def _histogram(buckets: Iterable[Bucket]) -> list[str]:
    most = max(bucket.count for bucket in buckets)
    return [
        f"  {b.left:>10,.0f} to {b.right - 1:>10,.0f} |{'█' * -(-b.count * _BAR // most):<{_BAR}} {b.count:,}"
        for b in buckets
    ]
