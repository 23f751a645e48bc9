"""Small files of the kinds that rows may name."""

from __future__ import annotations

import io
import struct
import wave

import pypdf


def pdf(pages: int) -> bytes:
    """A PDF of blank pages."""
    writer, file = pypdf.PdfWriter(), io.BytesIO()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    writer.write(file)
    return file.getvalue()


def wav(seconds: int) -> bytes:
    """Silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(1000)
        audio.writeframes(b"\x80" * 1000 * seconds)
    return file.getvalue()


def video(seconds: int) -> bytes:
    """The headers of an AVI file, which say how long it is, and one empty frame."""
    main = struct.pack("<14I", 10**6, 0, 0, 0, seconds, 0, 1, 0, 64, 48, 0, 0, 0, 0)
    stream = struct.pack("<4s4sIHHIIIIIIII8s", b"vids", b"MJPG", 0, 0, 0, 0, 1, 1, 0, seconds, 0, 0, 0, b"\0" * 8)
    picture = struct.pack("<IiiHH4sIiiII", 40, 64, 48, 1, 24, b"MJPG", 64 * 48 * 3, 0, 0, 0, 0)
    streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", picture))
    content = _list(b"hdrl", _chunk(b"avih", main) + streams) + _list(b"movi", _chunk(b"00dc", b"\0" * 16))
    return _chunk(b"RIFF", b"AVI " + content)


def _list(kind: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", kind + content)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<I", len(content)) + content
