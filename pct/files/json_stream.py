"""Large JSON files, read entry by entry."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PIECE, _LARGEST = 1 << 16, 1 << 28  # bytes that are read at once, and characters that one entry may have
# An error so near to the end of what was read may come of its being cut off there.
_CUT = 16
_SHOWN_KEYS = 8
_DAMAGED = (ValueError, RecursionError, EOFError, gzip.BadGzipFile, zlib.error)
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def iter_json(path: str | Path, key: str = "", required: bool = False) -> Iterator[Any]:
    """Yield the entries of a JSON file that is a list, or of the list under the top-level ``key`` of one object.

    One is in memory at a time. Numbers that JSON does not have but Python writes (NaN, Infinity) come as None. The file
    may be compressed by gzip, and be UTF-8 or UTF-16 with a mark.

    Args:
        path: JSON file.
        key: Name of the list; empty for a file that is a list itself.
        required: Whether a list under a key that is missing or empty is an error.

    Raises:
        ValueError: If the file is empty, malformed, truncated, of the other kind, or lacks what is required.
    """
    count, keys = 0, list[str]()
    try:
        with _open_json(path) as text:
            mark = text.peek()
            for name, item in text.walk(keys):
                if name == (key or None):
                    count += 1
                    yield item
    except _DAMAGED as error:
        reason = "lists or objects lie too deep in each other" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{path}: malformed or truncated JSON after {count} {key or 'entries'}: {reason}") from None
    if count == 0:
        _explain_nothing(path, key, required, mark, keys)


def _explain_nothing(path: str | Path, key: str, required: bool, mark: str, keys: list[str]) -> None:
    """Raise the reason why a file without entries is of no use, if it is; an empty list is one."""
    if mark != ("{" if key else "["):
        wanted = (
            "an annotation file in COCO format, with `categories` and `annotations`"
            if key
            else "a list, as COCO results are"
        )
        kinds = {"[": "a list, as COCO results and MPII files are", "{": f"an object with {keys[:1]}"}
        raise ValueError(f"{path}: this is JSON, {kinds.get(mark, 'a single value')}; expected {wanted}")
    if required and key in keys:
        raise ValueError(f"{path}: no {key}; `{key}` must be a list with at least one entry")
    if required:
        shown = ", ".join([*keys[:_SHOWN_KEYS], *(["..."] if len(keys) > _SHOWN_KEYS else [])])
        raise ValueError(f"{path}: no {key}; the file has {shown or 'no keys'}")


def is_json_object(path: str | Path) -> bool:
    """Whether a JSON file is an object, as annotation files are; results are a list, and damaged files neither."""
    try:
        with _open_json(path) as text:
            return text.peek() == "{"
    except _DAMAGED:
        return False


def find_bad_id(name: str, value: Any) -> str | None:
    """Say what is wrong with an id of a JSON file."""
    good = type(value) is int and -(2**63) <= value < 2**63
    return None if good else f"{name} is {repr(value)[:60]}; it must be an integer of 64 bits"


@contextmanager
def _open_json(path: str | Path) -> Iterator[_Text]:
    with Path(path).open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain = io.BufferedReader(gzip.GzipFile(fileobj=file)) if packed else file
        utf16 = plain.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        yield _Text(plain, "utf-16" if utf16 else "utf-8-sig")


class _Text:
    """The text of a JSON file, of which only what the next value needs is held."""

    def __init__(self, file: io.BufferedReader[Any], encoding: str) -> None:
        self._file, self._codec = file, codecs.getincrementaldecoder(encoding)()
        self._text, self._at = "", 0

    def walk(self, keys: list[str]) -> Iterator[tuple[str | None, Any]]:
        """Yield the entries of the list that the file is, named None, or of its object's lists; note all ``keys``."""
        if self.peek() == "[":
            yield from ((None, self._value()) for _ in self._members("[]"))
        elif self.peek() == "{":
            for _ in self._members("{}"):
                keys.append(str(self._value()))
                self._take(":")
                if self.peek() == "[":
                    yield from ((keys[-1], self._value()) for _ in self._members("[]"))
                else:
                    self._value()
        else:
            self._value()
        if self.peek():
            raise ValueError("there is more behind its end")

    def peek(self) -> str:
        """Return the next character that is no space; none at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _take(self, marks: str) -> str:
        found = self.peek()
        if not found or found not in marks:
            raise ValueError(f"{' or '.join(marks)} is missing")
        self._at += 1
        return found

    def _members(self, brackets: str) -> Iterator[None]:
        """Stop where each member of a list or an object begins."""
        self._take(brackets[0])
        if self.peek() != brackets[1]:
            yield
            while self._take("," + brackets[1]) == ",":
                yield
        else:
            self._take(brackets[1])

    def _value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._text) - _CUT or error.msg.startswith("Unterminated string")
                if not cut or len(self._text) - self._at > _LARGEST or not self._read_on():
                    raise ValueError(error.msg) from None
                continue
            start, whole = self._at, end < len(self._text) - _CUT
            # A number at the end may go on.
            if whole or not self._read_on():
                self._at = end if whole else end - start
                return value

    def _read_on(self) -> bool:
        """Read as much again as is held of the file; return whether there was more."""
        data = self._file.read(max(_PIECE, len(self._text) - self._at))
        self._text, self._at = self._text[self._at :] + self._codec.decode(data, final=not data), 0
        return bool(data)
