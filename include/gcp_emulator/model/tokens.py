"""Text as the small language model sees it: pieces of words to write, hashed features to read."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# A piece is at most eight letters or digits with the space or underscore before them, or any one character: about
# four characters a token in English, as Google counts its own (https://ai.google.dev/gemini-api/docs/tokens).
_PIECE = re.compile(r"[ _]?[0-9A-Za-z\u00c0-\u1fff]{1,8}|.", re.DOTALL)
_WORD = re.compile(r"\w+|[^\w\s]")
_GRAMS = (3, 4)

BUCKETS = 1 << 15
MAX_FEATURES = 2048
MAX_CHARACTERS = 20_000
MAX_WORDS = 4096
END = 0
_FIRST_WORD = 257

Ids = NDArray[np.int32]


def clean(text: str) -> str:
    """The text without lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()


def pieces(text: str) -> list[str]:
    """The text cut into tokens; joined they are the text again."""
    return _PIECE.findall(text)


def count_tokens(text: str) -> int:
    """Number of tokens in a text."""
    return sum(1 for _ in _PIECE.finditer(text))


def piece_id(piece: str) -> int:
    """A stable number for a piece, whatever model it is for (computeTokens needs one before any tuning)."""
    return zlib.crc32(piece.encode("utf-8", "replace")) % 262_144


class Vocabulary:
    """Output tokens: the end of an answer, the 256 bytes (so that any text can be written), then words.

    :param words: pieces of more than one byte, in the order of their ids
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = list(words)
        self._ids = {word: _FIRST_WORD + place for place, word in enumerate(self.words)}

    @classmethod
    def learn(cls, counts: Mapping[str, int], base: Vocabulary | None = None) -> Vocabulary:
        """The words of `base` and then the most frequent new pieces, :data:`MAX_WORDS` in all."""
        known = base.words if base else []
        old = set(known)
        ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))
        new = (piece for piece in ranked if piece not in old and len(piece.encode()) > 1)
        return cls([*known, *(piece for piece, _ in zip(new, range(MAX_WORDS - len(known)), strict=False))])

    def __len__(self) -> int:
        return _FIRST_WORD + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Ids of a text: words if they are known, else bytes."""
        ids: list[int] = []
        for piece in pieces(text):
            known = self._ids.get(piece)
            ids.extend([known] if known is not None else [1 + byte for byte in piece.encode()])
        return ids

    def spell(self, token: int) -> bytes:
        """The bytes of an id; empty for the end."""
        if token >= _FIRST_WORD:
            return self.words[token - _FIRST_WORD].encode()
        return bytes([token - 1]) if token else b""


class Speller:
    """Turns ids into text one by one. Bytes of an unfinished character wait for the rest."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, token: int) -> str:
        return self._decoder.decode(self._vocabulary.spell(token))

    def finish(self) -> str:
        return self._decoder.decode(b"", final=True)


def features(text: str, salt: int = 0) -> Ids:
    """Hashed words, word pairs and character n-grams of a text: distinct bucket numbers in ascending order.

    Of a long text the first :data:`MAX_CHARACTERS` characters count, and of many features the
    :data:`MAX_FEATURES` lowest, so that every text keeps or loses the same ones. The array is shared between callers
    and must not be changed.

    :param salt: distinguishes groups (system instruction, earlier turns, last turn)
    """
    return _features(text[:MAX_CHARACTERS], salt)


@lru_cache(maxsize=256)  # a dataset repeats its system instruction in every row
def _features(text: str, salt: int) -> Ids:
    text = " ".join(text.lower().split())
    if not text:
        return np.empty(0, np.int32)
    words = _WORD.findall(text)
    pairs = (f"{left} {right}" for left, right in zip(["", *words], [*words, ""], strict=True))
    hashes = [np.array([zlib.crc32(item.encode()) for item in (*words, *pairs)], np.uint32)]
    letters = np.frombuffer(f" {text} ".encode(), np.uint8).astype(np.uint32)
    hashes.extend(_grams(letters, size) for size in _GRAMS if len(letters) >= size)
    mixed = np.concatenate(hashes) ^ np.uint32(salt * 0x9E3779B1 & 0xFFFFFFFF)
    return np.unique(_mix(mixed) % BUCKETS).astype(np.int32)[:MAX_FEATURES]


def _grams(letters: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    """One FNV-1a hash per run of `size` letters (http://www.isthe.com/chongo/tech/comp/fnv/)."""
    count = len(letters) - size + 1
    hashes = np.full(count, size, np.uint32)
    for offset in range(size):
        hashes = (hashes ^ letters[offset : offset + count]) * np.uint32(16_777_619)
    return hashes


def _mix(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread the entropy over all bits before the modulus takes the lowest (MurmurHash3's finalizer)."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))
