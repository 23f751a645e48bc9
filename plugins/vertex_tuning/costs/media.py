"""Tokens of images, PDFs, audio and video by Google's published rates, and the documented limits of such files. Pure.

The documented limits are the upper bound of unknown pages and lengths.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

MediaKind = Literal["image", "document", "text", "audio", "video"]
Resolution = Literal["default", "low", "medium", "high", "ultra_high"]
Whole = Annotated[int, msgspec.Meta(ge=1, le=10**12)]
Rate = tuple[Annotated[int, msgspec.Meta(ge=0, le=10**6)], Annotated[int, msgspec.Meta(ge=0, le=10**6)]]

MAX_EXAMPLE_TOKENS: Final = 131_072
"""Most tokens of an example, input and output together. The service cuts or drops longer examples silently.

Source: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning, "Limitations".
"""
_SHORTEST: Final = 1.0
"""Seconds of audio or video of an unknown length, at least."""
CHARACTERS_OF_A_TOKEN: Final = 8
"""Bytes of a text file for which at least one token is assumed. This project's own figure."""


class MediaLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documented limits of files of a kind.

    :param name: the kind in messages, in the plural
    :param mime_types: accepted MIME types; `mime_source` is the page with them
    :param source: page with the limits
    :param read: date on which a copy of the pages was read
    :param most_files: files of the kind in an example
    :param most_bytes: size of a file
    :param most_seconds: length in an example, by media resolution
    :param most_pages: pages in an example
    :param certain: whether the page says that the service drops examples over these limits
    """

    name: str
    mime_types: list[str]
    source: str
    mime_source: str
    read: datetime.date
    most_bytes: Whole
    most_files: Whole | None = None
    most_seconds: dict[Resolution, Whole] = {}
    most_pages: Whole | None = None
    certain: bool = False


class MediaRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of files for a generation of models: at least, and at most.

    :param generation: e.g. "2.5"; "3" for all models from 3.0
    :param image: tokens of an image
    :param page: tokens of a page of a PDF
    :param frame: tokens of a frame of a video
    :param second: tokens of a second of sound
    :param part_resolution: whether a part of an example may have another media resolution than the example
    :param sources: pages with the rates
    :param read: date on which a copy of the pages was read
    """

    generation: str
    image: dict[Resolution, Rate]
    page: dict[Resolution, Rate]
    frame: dict[Resolution, Rate]
    second: Rate
    part_resolution: bool
    sources: list[str]
    read: datetime.date


class MediaTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table of files.

    :param kinds: limits by kind of file
    :param rates: tokens by generation
    """

    kinds: dict[MediaKind, MediaLimits]
    rates: list[MediaRates]


class MediaFacts(msgspec.Struct, frozen=True):
    """Limits and rates of files in examples, for a base model.

    :param model: the base model; empty if it is not known yet
    :param kinds: limits by kind of file
    :param rates: rates of its generation; of all generations if that is not known
    :param refuses_functions: whether the model was seen to refuse function calls in tuning data
    """

    model: str = ""
    kinds: dict[MediaKind, MediaLimits] = {}
    rates: list[MediaRates] = []
    refuses_functions: bool = False

    @property
    def part_resolution(self) -> bool:
        """Whether a part may have another resolution than its example, with one of the possible models."""
        return any(rates.part_resolution for rates in self.rates)


class TokenRange(msgspec.Struct, frozen=True):
    """Fewest and most tokens."""

    low: int = 0
    high: int = 0

    def __add__(self, other: TokenRange) -> TokenRange:
        """The sum of two ranges."""
        return TokenRange(self.low + other.low, self.high + other.high)


NO_TOKENS: Final = TokenRange()


class MediaFile(msgspec.Struct, frozen=True):
    """A file of an example, as far as it is known.

    :param kind: None for a MIME type of no known kind
    :param resolution: media resolution of the part or of its example
    :param seconds: length of the used part of audio or video
    :param frames_per_second: of a video
    :param pages: pages of a PDF
    :param size: bytes
    """

    kind: MediaKind | None
    resolution: Resolution = "default"
    seconds: float | None = None
    frames_per_second: float = 1.0
    pages: int | None = None
    size: int | None = None


def media_tokens(file: MediaFile, facts: MediaFacts) -> TokenRange:
    """Fewest and most tokens of a file."""
    if not facts.rates:
        return NO_TOKENS
    ranges = [_tokens(file, rates, facts.kinds) for rates in facts.rates]
    return TokenRange(min(each.low for each in ranges), max(each.high for each in ranges))


def _tokens(file: MediaFile, rates: MediaRates, kinds: Mapping[MediaKind, MediaLimits]) -> TokenRange:
    limits = kinds.get(file.kind) if file.kind else None
    if limits is None or file.kind is None:
        return TokenRange(0, MAX_EXAMPLE_TOKENS)
    if file.kind == "image":
        return TokenRange(*_rate(rates.image, file.resolution))
    if file.kind == "document":
        fewest, most = (file.pages, file.pages) if file.pages is not None else (1, limits.most_pages or 1)
        low, high = _rate(rates.page, file.resolution)
        return TokenRange(fewest * low, most * high)
    if file.kind == "text":
        size = limits.most_bytes if file.size is None else file.size
        low = 0 if file.size is None else file.size // CHARACTERS_OF_A_TOKEN
        return TokenRange(low, min(size, MAX_EXAMPLE_TOKENS))
    return _timed(file, rates, limits)


def _timed(file: MediaFile, rates: MediaRates, limits: MediaLimits) -> TokenRange:
    """Tokens of audio or video. A video may have no sound."""
    shortest, longest = _SHORTEST, longest_seconds(limits, file.resolution)
    if file.seconds is not None:
        shortest = longest = file.seconds
    sound_low, sound_high = rates.second
    if file.kind == "audio":
        return TokenRange(math.floor(shortest * sound_low), math.ceil(longest * sound_high))
    low, high = _rate(rates.frame, file.resolution)
    frames = file.frames_per_second
    return TokenRange(math.floor(shortest * frames * low), math.ceil(longest * (frames * high + sound_high)))


def longest_seconds(limits: MediaLimits, resolution: Resolution) -> float:
    """The length that audio or video may have at a media resolution."""
    return float(limits.most_seconds.get(resolution) or max(limits.most_seconds.values(), default=_SHORTEST))


def _rate(by_resolution: Mapping[Resolution, Rate], resolution: Resolution) -> Rate:
    """The rate of a resolution; of any resolution if the documents have none for it."""
    if rate := by_resolution.get(resolution):
        return rate
    return min(low for low, _ in by_resolution.values()), max(high for _, high in by_resolution.values())
