"""A hash of rows that does not depend on their order, in a fixed amount of memory. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from mmh3 import mmh3_x64_128_uintdigest

_SIZE: Final = 16
"""Bytes of the hash of a row. Ten million rows have two equal hashes in one of 10^24 datasets."""
_MODULUS: Final = 1 << 8 * _SIZE


class RowSet:
    """The sum of the hashes of rows. Two sets have the same sum if they have the same rows, equally often.

    An exclusive or would not do: two equal rows would cancel each other. (M. Bellare and D. Micciancio, "A New
    Paradigm for Collision-Free Hashing", EUROCRYPT 1997: AdHash.) It does not protect from deliberate collisions: an
    attacker who can write the data does not need them. So the hash of a row is MurmurHash3, which is six times as fast
    as a cryptographic one.
    """

    def __init__(self, sum_of_hashes: int = 0) -> None:
        self._sum = sum_of_hashes

    def add(self, lines: Iterable[bytes]) -> None:
        """Add rows. Space around a row does not count."""
        self._sum += sum(map(mmh3_x64_128_uintdigest, map(bytes.strip, lines)))
        self._sum %= _MODULUS

    def merge(self, other: RowSet) -> None:
        self._sum = (self._sum + other._sum) % _MODULUS

    def __str__(self) -> str:
        return f"{self._sum:0{2 * _SIZE}x}"

    @classmethod
    def parse(cls, text: str) -> RowSet:
        """Read the text that `str` of a `RowSet` gives."""
        return cls(int(text, 16))

    @property
    def hash(self) -> str:
        """Hash of the rows: 64 hex digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()
