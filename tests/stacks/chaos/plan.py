"""What is done to each run: drawn from a seed, so that a course can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["kill", "stall", "fault", "neighbour"]

PROCESSES: Final = ("scheduler", "triggerer", "emulator")
"""Killed by the harness and started again by it, as systemd or Kubernetes would. Of the two triggerers it is always the
one that waits for the run's job, once there is one.
"""

KILLS: Final = (*PROCESSES, "worker", "task")
"""LocalExecutor's worker and the task's process under it, which Airflow itself replaces."""

HANDED_OVER: Final = ("triggerer", "runner", "database")
"""Stalls after which the other triggerer takes the waiting over: of the whole triggerer, of the process in it that runs
the triggers, and of PostgreSQL's processes behind its connections.
"""

REPLACED: Final = (*HANDED_OVER, "worker")
"""Stalls that last until something else is at work in the place of what stands still."""

STALLS: Final = (*REPLACED, "scheduler", "api-server", "emulator")
"""What stands still and then goes on, as a machine that was frozen or cut off from the network: a process with all it
has started, a worker with its task.
"""
STALL_SECONDS: Final = 16.0
"""Least length of a stall after which nothing takes over; above the thresholds after which Airflow takes a process for
dead.
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

BLOCK: Final = "block"
HURRY: Final = "hurry"

NEIGHBOURS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "blocks the event loop": (BLOCK, {}),
    "polls every 0 s": (HURRY, {"interval": 0}),
    "polls every microsecond": (HURRY, {"interval": 1e-6}),
}
"""Another DAG's trigger in the triggerer that waits for the run's job: its kind and the configuration of its run."""

EVERY: Final[Mapping[Kind, tuple[str, ...]]] = {
    "kill": KILLS,
    "stall": STALLS,
    "fault": tuple(FAULTS),
    "neighbour": tuple(NEIGHBOURS),
}

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
SWEEP_SHARE: Final = 0.4


@dataclass(frozen=True)
class Blow:
    """One thing done to one run.

    :param name: what is struck, or the name of the fault or neighbour; see `EVERY`
    :param after: the API method whose first call in the run starts the clock; the run's start when empty
    :param wait: seconds from then on
    :param lasts: seconds a killed process stays away, a fault stays in force once it has struck, or a stall lasts;
        where something takes over, seconds from then on
    :param sweep: the run trains several candidates in a mapped task group
    """

    kind: Kind
    name: str
    after: str
    wait: float
    lasts: float
    sweep: bool

    @property
    def strikes_waiting(self) -> bool:
        """Whether it hits the triggerer that waits for the job."""
        return self.kind == "neighbour" or (self.kind == "stall" and self.name in HANDED_OVER)

    @property
    def title(self) -> str:
        return self.name if self.kind == "fault" else f"{self.kind} {self.name}"

    def __str__(self) -> str:
        where = "sweep: " if self.sweep else ""
        return f"{where}{self.title}, {self.wait:.2f} s after {self.after or 'the start'}, for {self.lasts:.1f} s"


def draw(runs: int, seed: int) -> list[Blow]:
    """One blow for each run; every kind once before any comes again."""
    chance = random.Random(seed)
    deck: list[tuple[Kind, str]] = []
    blows = []
    for _ in range(runs):
        if not deck:
            deck = [(kind, name) for kind, names in EVERY.items() for name in names]
            chance.shuffle(deck)
        blows.append(_blow(*deck.pop(), chance))
    return blows


def _blow(kind: Kind, name: str, chance: random.Random) -> Blow:
    sweep = chance.random() < SWEEP_SHARE
    after = _moment(kind, name, chance)
    early, lasts = chance.random(), chance.uniform(1, 4)
    if kind == "stall" and name not in REPLACED:
        lasts += STALL_SECONDS
    if name in AROUND_CREATION:
        return Blow(kind, name, after, 0.0, lasts, sweep)
    # Cubed: most blows fall right after the call, between what it did and what the caller makes of it.
    return Blow(kind, name, after, early**3 * PHASE_SECONDS, lasts, sweep)


def _moment(kind: Kind, name: str, chance: random.Random) -> str:
    if name in AROUND_CREATION:
        return ""
    if kind == "neighbour" or (kind == "stall" and name in HANDED_OVER):
        return "tuningJobs.get"
    moments = list(MOMENTS)
    if kind == "fault":
        moments = [moment for moment in moments if moment.startswith("tuningJobs.")]
    [moment] = chance.choices(moments, [MOMENTS[moment] for moment in moments])
    return moment
