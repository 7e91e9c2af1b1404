"""Large JSON files, read entry by entry."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ijson
import numpy as np

# A whole string (or one that the data cuts off), or a number that JSON does not have.
_LOOSE_NUMBERS = re.compile(rb'("(?:[^"\\]|\\.)*(?:"|\Z))|-?\bInfinity\b|\bNaN\b', re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)', re.DOTALL)
# Integers that may not fit into 64 bits; those of 19 digits and more are handed on as the text they are.
_LONG_INTEGERS = re.compile(rb'("(?:[^"\\]|\\.)*(?:"|\Z))|(?<![\w.+-])(-?\d{19,})(?![\w.+-])', re.DOTALL)
_LONG = re.compile(rb"\d{19}")
_QUOTES = re.compile(rb'\\.|(")', re.DOTALL)
# Lists and objects in each other: ijson's memory grows with the square of it. COCO has 4.
_DEEPEST = 500
# Keys that an error lists.
_SHOWN_KEYS = 8
_DAMAGED = (ijson.JSONError, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error)
_DEPTH_CHANGE = np.zeros(256, np.int8)
_DEPTH_CHANGE[list(b"[{")], _DEPTH_CHANGE[list(b"]}")] = 1, -1


def iter_json(path: str | Path, key: str = "", required: bool = False) -> Iterator[Any]:
    """Yield the entries of a JSON file that is a list, or of the list under the top-level ``key`` of one object.

    One is in memory at a time. Numbers that JSON does not have but Python writes (NaN, Infinity) come as None, integers
    that do not fit into 64 bits as their digits in a string. The file may be compressed by gzip, and be UTF-8 or UTF-16
    with a mark.

    Args:
        path: JSON file.
        key: Name of the list; empty for a file that is a list itself.
        required: Whether a list under a key that is missing or empty is an error.

    Raises:
        ValueError: If the file is empty, malformed, truncated, of the other kind, or lacks what is required.
    """
    count = 0
    try:
        with open_json(path) as file:
            for item in ijson.items(file, f"{key}.item" if key else "item", use_float=True):
                count += 1
                yield item
        if count == 0:
            _explain_nothing(path, key, required)
    except _DAMAGED as error:
        # Where the text around an error is no UTF-8, yajl's sentence comes as bytes.
        reason = error.args[0] if isinstance(error, ijson.JSONError) and error.args else error
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(
            f"{path}: malformed or truncated JSON after {count} {key or 'entries'}: {' '.join(text.split())[:200]}"
        ) from None


def _explain_nothing(path: str | Path, key: str, required: bool) -> None:
    """Raise the reason why a file without entries is of no use, if it is; an empty list is one."""
    with open_json(path) as file:
        events = [(event, value) for prefix, event, value in ijson.parse(file) if prefix == ""]
    kind, keys = events[0][0], [value for event, value in events if event == "map_key"]
    if not key and kind != "start_array":
        other = "an empty JSON object" if kind == "start_map" else f"a JSON {kind}"
        what = f"a JSON object with {keys[0]!r}" if keys else other
        raise ValueError(f"{path}: this is {what}; expected a list, as COCO results are")
    if key and kind == "start_array":
        raise ValueError(
            f"{path}: this is a JSON list, as COCO results and MPII files are; expected an annotation file in "
            f"COCO format, with `categories` and `annotations`"
        )
    if required and key in keys:
        raise ValueError(f"{path}: no {key}; `{key}` must be a list with at least one entry")
    if required:
        shown = ", ".join([*keys[:_SHOWN_KEYS], *(["..."] if len(keys) > _SHOWN_KEYS else [])])
        raise ValueError(f"{path}: no {key}; the file has {shown or 'no keys'}")


class Readable(Protocol):
    """What gives bytes."""

    def read(self, size: int) -> bytes:
        """Return at most ``size`` bytes; none at the end."""


@contextmanager
def open_json(path: str | Path) -> Iterator[Readable]:
    """Open a JSON file as UTF-8 that any parser reads: unpacked, without a mark, without numbers JSON does not have."""
    with Path(path).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        yield _StrictNumbers(
            _Utf16(plain) if plain.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else plain
        )


def first_byte(path: str | Path) -> bytes:
    """Return the first byte of a JSON file that is no space: [ of a list, { of an object; none if it is damaged."""
    try:
        with open_json(path) as file:
            return file.read(64).lstrip()[:1]
    except _DAMAGED:
        return b""


class _Utf16:
    """A file of UTF-16 read as UTF-8."""

    def __init__(self, file: Readable) -> None:
        self._file, self._decoder = file, codecs.getincrementaldecoder("utf-16")()

    def read(self, size: int) -> bytes:
        while True:
            data = self._file.read(size)
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode()


class _StrictNumbers:
    """A file whose bare NaN, Infinity and -Infinity, which json.dump writes and JSON does not know, read as null.

    A byte order mark, which some editors put in front, is left out.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._held = file.read(3).removeprefix(codecs.BOM_UTF8)
        self._in_string = False

    def read(self, size: int) -> bytes:
        if size == 0:
            return b""
        while chunk := self._file.read(size):
            # Cut after a comma: no number, and no escape in a string, lies across it.
            whole, comma, self._held = (self._held + chunk).rpartition(b",")
            if comma:
                return self._clean(whole + comma)
        rest, self._held = self._held, b""
        return self._clean(rest)

    def _clean(self, data: bytes) -> bytes:
        opened = b'"' if self._in_string else b""
        # Strings may hold brackets too; they are looked for only where there are very many.
        if _depth(data) > _DEEPEST and _depth(_STRING.sub(b"", opened + data)) > _DEEPEST:
            raise ijson.JSONError(f"lists or objects lie over {_DEEPEST} deep in each other")
        if b"NaN" in data or b"Infinity" in data:
            cleaned = _LOOSE_NUMBERS.sub(lambda m: m[1] or b"null", opened + data)[len(opened) :]
        else:
            cleaned = data
        if _LONG.search(data):
            cleaned = _LONG_INTEGERS.sub(_quote_long, opened + cleaned)[len(opened) :]
        quotes = sum(1 for m in _QUOTES.finditer(data) if m[1]) if b"\\" in data else data.count(b'"')
        self._in_string ^= bool(quotes % 2)
        return cleaned


def _quote_long(match: re.Match[bytes]) -> bytes:
    if match[2] is None or -(2**63) <= int(match[2][:25]) < 2**63:
        return match[0]
    return b'"' + match[2] + b'"'


def _depth(data: bytes) -> int:
    """Return the most brackets in ``data`` that are open at once."""
    depth = _DEPTH_CHANGE[np.frombuffer(data, np.uint8)].cumsum(dtype=np.int32)
    return int((depth - np.minimum.accumulate(depth)).max(initial=0))


def find_bad_id(name: str, value: Any) -> str | None:
    """Say what is wrong with an id of a JSON file; integers beyond 64 bits come as their digits and are shown so."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return None
    long = isinstance(value, str) and len(value) > 18 and value.lstrip("-").isdecimal()
    return f"{name} is {(value if long else repr(value))[:60]}; it must be an integer of 64 bits"
