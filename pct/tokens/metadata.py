"""TokenMetadata: what a token table says about the model that made it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pct.skeleton import Skeleton

FORMAT_VERSION = 2
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
        num_tokens: Tokens M a pose of the model.
        shortest_prefix: Fewest first tokens that the model decodes: M where its tokens are not ordered.
        prefix: How many first tokens of each pose the table holds; None where it holds all M.
        format_version: Version of the format that the file was read in; files are written in the newest.
    """

    model: str
    fingerprint: str
    skeleton: Skeleton
    space: dict[str, Any]
    codebook_size: int
    num_tokens: int
    shortest_prefix: int
    prefix: int | None = None
    format_version: int = FORMAT_VERSION

    @property
    def is_3d(self) -> bool:
        """Whether the poses are 3D: their rows then have the root's position in the place of box and area."""
        return self.space.get("kind") == "root3d"

    @property
    def tokens_per_pose(self) -> int:
        """Tokens m that the table holds of each pose."""
        return self.prefix or self.num_tokens

    @property
    def lengths(self) -> str:
        """How many tokens a pose may have, as words to go after "has"."""
        if self.shortest_prefix == self.num_tokens:
            return f"{self.num_tokens}, and needs all: they are not ordered"
        return f"{self.shortest_prefix} to {self.tokens_per_pose}"

    def with_prefix(self, length: int | None) -> TokenMetadata:
        """Return what a table says that holds the first ``length`` tokens of each pose of this one; None keeps all.

        Raises:
            ValueError: If the model does not decode so few tokens, or this table does not hold as many.
        """
        if length is None or length == self.tokens_per_pose:
            return self
        if not self.shortest_prefix <= length <= self.tokens_per_pose:
            holder = "this file" if self.prefix else "this model"
            raise ValueError(f"{length} tokens a pose are asked for; a pose of {holder} has {self.lengths}")
        return replace(self, prefix=length)

    def to_json(self) -> str:
        """Return the JSON text that stands in the file."""
        return json.dumps({**asdict(self), "format_version": FORMAT_VERSION}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path) -> TokenMetadata:
        """Read the JSON text of the file ``path``.

        Tables of version 1 know nothing of prefixes: they hold all tokens of models whose tokens are not ordered.

        Raises:
            TokenFileError: If it is no such JSON, of another version, or has a missing, unknown or bad value.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TokenFileError(
                f"{path}: the metadata under the key {METADATA_KEY!r} is not valid JSON: {error}"
            ) from None
        version = values.get("format_version") if isinstance(values, dict) else None
        if type(version) is not int or not 1 <= version <= FORMAT_VERSION:
            raise TokenFileError(
                f"{path}: token table of format version {version!r}; this version of pct reads 1 to {FORMAT_VERSION}"
            )
        names = {f.name for f in fields(cls)} - ({"shortest_prefix", "prefix"} if version == 1 else set())
        if set(values) != names:
            raise TokenFileError(f"{path}: metadata has the keys {sorted(values)}; it must have {sorted(names)}")
        values = {"shortest_prefix": values["num_tokens"], "prefix": None, **values}
        _check_sizes(values, path)
        if not isinstance(values["space"], dict):
            raise TokenFileError(f"{path}: metadata gives space as {values['space']!r}; it must be an object")
        try:
            values["skeleton"] = Skeleton.from_dict(values["skeleton"])
        except (ValueError, TypeError, KeyError) as error:
            raise TokenFileError(f"{path}: metadata holds no skeleton: {error}") from None
        return cls(**values)


def _check_sizes(values: dict[str, Any], path: str | Path) -> None:
    # Readers count the use of every id: an absurd number here must not take all memory there.
    largest = {"codebook_size": _MOST_IDS, "num_tokens": _MOST_IDS}
    for name in ("codebook_size", "num_tokens", "shortest_prefix", "prefix"):
        value, most = values[name], largest.get(name, values["num_tokens"])
        if (type(value) is not int or not 0 < value <= most) and not (name == "prefix" and value is None):
            raise TokenFileError(f"{path}: metadata gives {name} as {value!r}; it must be an integer from 1 to {most}")
