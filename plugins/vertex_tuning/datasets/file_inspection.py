"""Look into a file for what decides about its tokens: the pages of a PDF, the length of audio or video. Pure."""

from __future__ import annotations

from typing import IO, Final

INSPECTED_KINDS: Final = ("document", "audio", "video")
"""Kinds of files whose tokens depend on what is in them."""
_MILLISECONDS: Final = 1000


class NotInspectableError(Exception):
    """A file is damaged, encrypted, or of another type than its name says."""


def page_count(file: IO[bytes]) -> int:
    """Number of pages of a PDF.

    :raises NotInspectableError: it is not a PDF, or it is damaged or encrypted
    """
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        return len(pypdf.PdfReader(file).pages)
    # On damaged files, pypdf raises errors of Python's own as well.
    except (PyPdfError, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise NotInspectableError(f"{type(error).__name__}: {error}") from None


def duration(file: IO[bytes]) -> float:
    """Length of audio or video, in seconds.

    :raises NotInspectableError: it is neither, or it is damaged
    """
    from pymediainfo import MediaInfo

    try:
        tracks = MediaInfo.parse(file).tracks
    except (RuntimeError, ValueError, SyntaxError) as error:
        raise NotInspectableError(f"{type(error).__name__}: {error}") from None
    lengths = [float(track.duration) for track in tracks if getattr(track, "duration", None)]
    if not lengths:
        raise NotInspectableError("no audio and no video in it")
    return max(lengths) / _MILLISECONDS
