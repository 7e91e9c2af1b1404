"""Numbers as text that stands in a page: lossless, compressed, and a seventh longer than its bytes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

# Characters that HTML drops or changes, or that could end a script element.
_UNSAFE = "\0\n\r<"


@dataclass(frozen=True)
class PackedNumbers:
    """Numbers as text.

    Attributes:
        text: See :func:`pack_text`; of the bytes of all numbers in planes (all lowest bytes first), compressed by zlib.
        packed_bytes: How many bytes the text holds.
        number_bytes: Bytes of a number: 2 where float16 holds every number exactly, else 4.
    """

    text: str
    packed_bytes: int
    number_bytes: int


def pack_numbers(tensors: Iterable[Tensor]) -> PackedNumbers:
    """Write float32 tensors, one after the other, as text; not a bit is lost."""
    numbers = np.concatenate([tensor.detach().cpu().float().numpy().ravel() for tensor in tensors])
    with np.errstate(over="ignore"):
        half = numbers.astype("<f2")
    if (half.astype(np.float32) == numbers).all():
        numbers = half
    # Bytes of one place are alike, so planes of them compress.
    planes = numbers.astype(numbers.dtype.newbyteorder("<")).view(np.uint8).reshape(len(numbers), -1).T
    packed = zlib.compress(planes.tobytes(), 9)
    return PackedNumbers(pack_text(packed), len(packed), len(planes))


def pack_text(data: bytes) -> str:
    """Write bytes as text, 7 bits a character.

    Characters that a page would not keep take the next 7 bits with them into a character of two UTF-8 bytes, so that
    the text is a seventh longer than its bytes, where base64 is a third longer.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    # Two groups more than needed: the last character has one to take with it.
    bits = np.pad(bits, (0, -len(bits) % 7 + 14))
    codes = np.packbits(bits.reshape(-1, 7), axis=1).ravel() >> 1
    text = codes.tobytes().decode("ascii")
    return re.sub(
        f"([{_UNSAFE}])(.)",
        lambda pair: chr(128 * (_UNSAFE.index(pair[1]) + 1) + ord(pair[2])),
        text,
        flags=re.DOTALL,
    ).rstrip("\0")
