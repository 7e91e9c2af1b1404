"""TokenMetadata: what a token table says about the model that made it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pct.skeleton import Skeleton

FORMAT_VERSION = 1
# Where the JSON text stands in the file's own metadata.
METADATA_KEY = "pct"
_MOST_IDS = 2**24


class TokenFileError(ValueError):
    """A token table is broken, of another version, or does not fit the model."""


@dataclass(frozen=True)
class TokenMetadata:
    """What a token table says about the model that made it.

    Attributes:
        model: Name or folder of the model, for people to read.
        fingerprint: :meth:`pct.PoseTokenizer.fingerprint` of the model; decoding needs the same one.
        skeleton: Whose joints the poses have.
        space: The pose space as plain values (crop padding among them).
        codebook_size: Number of ids V.
        num_tokens: Tokens M a pose.
        format_version: Version of the file format.
    """

    model: str
    fingerprint: str
    skeleton: Skeleton
    space: dict[str, Any]
    codebook_size: int
    num_tokens: int
    format_version: int = FORMAT_VERSION

    @property
    def is_3d(self) -> bool:
        """Whether the poses are 3D: their rows then have the root's position in the place of box and area."""
        return self.space.get("kind") == "root3d"

    def to_json(self) -> str:
        """Return the JSON text that stands in the file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path) -> TokenMetadata:
        """Read the JSON text of the file ``path``.

        Raises:
            TokenFileError: If it is no such JSON, of another version, or has a missing, unknown or bad value.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TokenFileError(
                f"{path}: the metadata under the key {METADATA_KEY!r} is not valid JSON: {error}"
            ) from None
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise TokenFileError(
                f"{path}: token table of format version {version!r}; this version of pct reads {FORMAT_VERSION}"
            )
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise TokenFileError(f"{path}: metadata has the keys {sorted(values)}; it must have {sorted(names)}")
        for name in ("codebook_size", "num_tokens"):
            # Readers count the use of every id: an absurd number here must not take all memory there.
            if not isinstance(values[name], int) or not 0 < values[name] <= _MOST_IDS:
                raise TokenFileError(
                    f"{path}: metadata gives {name} as {values[name]!r}; it must be an integer from 1 to {_MOST_IDS}"
                )
        if not isinstance(values["space"], dict):
            raise TokenFileError(f"{path}: metadata gives space as {values['space']!r}; it must be an object")
        try:
            values["skeleton"] = Skeleton.from_dict(values["skeleton"])
        except (ValueError, TypeError, KeyError) as error:
            raise TokenFileError(f"{path}: metadata holds no skeleton: {error}") from None
        return cls(**values)
