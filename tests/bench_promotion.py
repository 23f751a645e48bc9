"""How often the default promotion rule promotes a model of known quality. `make bench-promotion`.

Each comparison draws the results of two models on the same examples. The models agree on a share of the examples; on
the others, one of them is right. The true gain says which one, how often. Both are shares of all examples, so the gain
can be at most the share of disagreement. The verdict is that of the product's own rule.
"""

from __future__ import annotations

import argparse
from collections import Counter
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from vertex_tuning.evaluation.promotion_rule import RuleValue, compare_models
from vertex_tuning.results import PromotionRule

RULE: Final = PromotionRule("sample.exact_share")
AGREEMENT: Final = (0.70, 0.80, 0.90, 0.95, 0.99)
EXAMPLES: Final = (20, 50, 110, 200, 500, 1000)
GAINS: Final = (-0.10, -0.05, -0.02, 0.0, 0.02, 0.05, 0.10)
RIGHT: Final = 0.5
"""Share of the agreed examples that both models answer rightly. The rule does not depend on it."""

COMPARISONS: Final = 2000
SEED: Final = 13


class Goal(NamedTuple):
    """A promise about the share of promotions.

    :param gain: true gain of the new model
    :param agreement: None for every agreement at which this gain is possible
    :param examples: size of the sample; None for every size
    :param most: largest allowed share; None if `least` is set
    :param least: smallest allowed share
    """

    gain: float
    agreement: float | None
    examples: int | None
    most: float | None = None
    least: float = 0.0


GOALS: Final = (
    Goal(-0.05, None, 500, most=0.01),
    Goal(-0.02, None, 500, most=0.06),
    Goal(0.0, 0.95, 500, least=0.50),
    Goal(-0.05, None, None, most=0.06),
)

Shares = dict[tuple[float, int, float], dict[str, float]]


@cache
def verdict(better: int, worse: int, examples: int) -> str:
    """The rule's verdict on two models, by the number of examples on which only one of them is right."""
    agreed = examples - better - worse
    both = [1.0] * round(agreed * RIGHT) + [0.0] * (agreed - round(agreed * RIGHT))
    new = [1.0] * better + [0.0] * worse + both
    old = [0.0] * better + [1.0] * worse + both
    found = compare_models(RULE, RuleValue(sum(new) / examples, new), RuleValue(sum(old) / examples, old))
    return "promoted" if found.verdict in ("better", "equal") else found.verdict


def simulate(agreement: float, examples: int, gain: float, comparisons: int) -> dict[str, float]:
    """Shares of the verdicts of many comparisons."""
    disagreement = 1 - agreement
    shares = ((disagreement + gain) / 2, (disagreement - gain) / 2, agreement)
    generator = np.random.default_rng([SEED, round(agreement * 100), examples, round(gain * 100) + 100])
    drawn = generator.multinomial(examples, np.clip(shares, 0, 1), size=comparisons)
    counts = Counter(verdict(int(better), int(worse), examples) for better, worse, _ in drawn)
    return {name: counts[name] / comparisons for name in ("promoted", "undecided", "refused")}


def simulate_all(comparisons: int) -> Shares:
    """The shares of all cells; a gain larger than the disagreement is impossible."""
    return {
        (agreement, examples, gain): simulate(agreement, examples, gain, comparisons)
        for agreement in AGREEMENT
        for examples in EXAMPLES
        for gain in GAINS
        if abs(gain) <= 1 - agreement + 1e-9
    }


def missed(shares: Shares) -> list[str]:
    """The goals that are missed, one line each."""
    lines = []
    for goal in GOALS:
        for (agreement, examples, gain), found in shares.items():
            is_meant = gain == goal.gain and goal.agreement in (None, agreement) and goal.examples in (None, examples)
            if is_meant and not goal.least <= found["promoted"] <= (goal.most or 1.0):
                lines.append(
                    f"{gain:+.0%}, agreement {agreement:.0%}, n = {examples}: promoted {found['promoted']:.1%}"
                )
    return lines


def show(shares: Shares, console: Console) -> None:
    """Print a table for each agreement: promoted / undecided / refused, in percent."""
    for agreement in AGREEMENT:
        gains = [gain for gain in GAINS if (agreement, EXAMPLES[0], gain) in shares]
        table = Table(title=f"The models agree on {agreement:.0%}: promoted / undecided / refused, in %")
        table.add_column("examples", justify="right")
        for gain in gains:
            table.add_column(f"{gain:+.0%}", justify="right")
        for examples in EXAMPLES:
            cells = (shares[agreement, examples, gain] for gain in gains)
            table.add_row(
                str(examples), *(" / ".join(f"{share * 100:.1f}" for share in cell.values()) for cell in cells)
            )
        console.print(table)


def main() -> int:
    """Simulate, print, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS, help="comparisons of each cell")
    console, shares = Console(width=200), simulate_all(parser.parse_args().comparisons)
    show(shares, console)
    lines = missed(shares)
    for line in lines:
        console.print(f"MISSED: {line}")
    if not lines:
        console.print(f"All {len(GOALS)} goals reached.")
    return bool(lines)


if __name__ == "__main__":
    raise SystemExit(main())
