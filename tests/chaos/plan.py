"""What is done to each run: drawn from a seed, so that a course can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PROCESSES: Final = ("scheduler", "triggerer", "emulator")
"""Killed by the harness and started again by it, as systemd or Kubernetes would."""

KILLS: Final = (*PROCESSES, "worker", "task")
"""LocalExecutor's worker and the task's process under it, which Airflow itself replaces."""

ZOMBIE: Final = "zombie"
"""A worker that stands still with its task until Airflow has given it up and its replacement is at work, and then goes
on: a machine that was frozen, or cut off from the network.
"""

_QUOTA: Final = "aiplatform.googleapis.com/global_concurrent_tuning_jobs"
_REFUSAL: Final = {
    "code": 429,
    "message": f"The following quota metrics exceed quota limits: {_QUOTA}",
    "details": [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"subject": "local-project", "description": f"Quota exceeded for {_QUOTA}"}],
        }
    ],
}
_LOST_RESPONSE: Final = {"method": "tuningJobs.create", "count": 1, "drop": "after"}

FAULTS: Final[Mapping[str, list[dict[str, Any]]]] = {
    "lost response": [_LOST_RESPONSE],
    "stale list": [_LOST_RESPONSE, {"method": "tuningJobs.list", "staleList": 60}],
    "quota refused": [{"method": "tuningJobs.create", "error": _REFUSAL}],
    "503 burst": [{"method": f"tuningJobs.{verb}", "error": {"code": 503}} for verb in ("get", "list")],
    "slow answers": [{"method": "tuningJobs.*", "delay": 2}],
}
"""Faults of the emulator. A list that lags behind does harm only where a job was created and nobody was told."""

AROUND_CREATION: Final = frozenset({"lost response", "stale list", "quota refused"})
"""Have to be in force before the job is created."""

MOMENTS: Final = {
    "": 1,
    "storage.objects.insert": 1,
    "tuningJobs.list": 2,
    "tuningJobs.create": 4,
    "tuningJobs.get": 3,
    "timeSeries.read": 1,
    "endpoints.generateContent": 1,
}
"""API methods of all five tasks, in their order; the first call in a run begins a phase of it. Each with its weight:
creating a job and waiting for it is where one can be lost.
"""

PHASE_SECONDS: Final = 3.0


@dataclass(frozen=True)
class Blow:
    """One thing done to one run.

    :param name: one of `KILLS` or `FAULTS`, or `ZOMBIE`
    :param after: the API method whose first call in the run starts the clock; the run's start when empty
    :param wait: seconds from then on
    :param lasts: seconds a killed process stays away, a fault stays in force once it has struck, or a zombie stands
        still once its replacement is at work
    """

    name: str
    after: str
    wait: float
    lasts: float

    def __str__(self) -> str:
        what = f"kill {self.name}" if self.name in KILLS else self.name
        return f"{what}, {self.wait:.2f} s after {self.after or 'the start'}, for {self.lasts:.1f} s"


def draw(runs: int, seed: int) -> list[Blow]:
    """One blow for each run; every kind once before any comes again."""
    chance = random.Random(seed)  # noqa: S311 - not a secret
    deck: list[str] = []
    blows = []
    for _ in range(runs):
        if not deck:
            deck = [*KILLS, *FAULTS, ZOMBIE]
            chance.shuffle(deck)
        blows.append(_blow(deck.pop(), chance))
    return blows


def _blow(name: str, chance: random.Random) -> Blow:
    moments = [moment for moment in MOMENTS if name in KILLS or moment.startswith("tuningJobs.")]
    [after] = chance.choices(moments, [MOMENTS[moment] for moment in moments])
    early, lasts = chance.random(), chance.uniform(1, 4)
    if name in AROUND_CREATION:
        return Blow(name, "", 0.0, lasts)
    if name == ZOMBIE:
        return Blow(name, chance.choice(("storage.objects.insert", "tuningJobs.list")), early * PHASE_SECONDS, early)
    # Cubed: most blows fall right after the call, between what it did and what the caller makes of it.
    return Blow(name, after, early**3 * PHASE_SECONDS, lasts)
