"""A hash of rows in whatever order they stand, at a fixed cost of memory. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

_SIZE: Final = 64
"""Bytes of a row's hash, the most that BLAKE2b has."""
_MODULUS: Final = 1 << 8 * _SIZE


class RowSet:
    """The sum of the rows' hashes: the same for the same rows, each as often, and no others.

    A sum and not an exclusive or, for which two equal rows would be none. (M. Bellare and D. Micciancio, "A New
    Paradigm for Collision-Free Hashing", EUROCRYPT 1997: AdHash.) Nobody is kept from making two datasets alike on
    purpose; who can write the data can do without.
    """

    def __init__(self, sum_of_hashes: int = 0) -> None:
        self._sum = sum_of_hashes

    def add(self, lines: Iterable[bytes]) -> None:
        """Add rows, without the space around them."""
        digest, number = hashlib.blake2b, int.from_bytes
        self._sum += sum([number(digest(line.strip()).digest(), "big") for line in lines])
        self._sum %= _MODULUS

    def merge(self, other: RowSet) -> None:
        self._sum = (self._sum + other._sum) % _MODULUS

    def __str__(self) -> str:
        return f"{self._sum:0{2 * _SIZE}x}"

    @classmethod
    def parse(cls, text: str) -> RowSet:
        """Read what `str` has written."""
        return cls(int(text, 16))

    @property
    def hash(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()
