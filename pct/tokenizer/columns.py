"""Tokens as columns of data sets: what a tokenizer does with a batch of rows, such as Hugging Face ``datasets`` gives.

A batch is a mapping from names of columns to lists or arrays with one value a row. The model's fingerprint is a column
beside the tokens: metadata of a table does not survive ``datasets`` and Ray, columns do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from pct.geometry import bbox_from_keypoints

if TYPE_CHECKING:
    from pct.tokenizer.model import PoseTokenizer

KEYPOINTS, VISIBLE, TOKENS, FINGERPRINT = "keypoints", "visible", "tokens", "fingerprint"


class TokenColumns:
    """The part of :class:`pct.PoseTokenizer` that works on columns."""

    def encode_columns(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Turn rows of poses into rows of tokens: ``dataset.map(tokenizer.encode_columns, batched=True)``.

        Args:
            batch: ``keypoints`` (B, K, D) in image pixels or millimetres; ``visible`` (B, K), above 0 where a joint is
                known, if there is such a column (else finite joints are); ``bbox`` (B, 4) as x, y, width, height, or
                for 3D poses ``root`` (B, 3), if there is one: else the box around the known joints, and the root joint.

        Returns:
            ``tokens`` (B, M), int32; ``fingerprint``, the model's, in every row; and ``bbox`` or ``root`` where the
            batch has none, since decoding needs it.

        Raises:
            ValueError: If a column is missing or does not hold such numbers, and as :meth:`pct.PoseTokenizer.encode`.
        """
        tokenizer = cast("PoseTokenizer", self)
        keypoints = _numbers(batch, KEYPOINTS, 3)
        visible = _numbers(batch, VISIBLE, 2) > 0 if VISIBLE in batch else torch.isfinite(keypoints).all(dim=-1)
        name = tokenizer.space.reference_name
        if name in batch:
            place = _numbers(batch, name, 2)
        elif name == "root":
            place = keypoints[:, tokenizer.space.root]
        else:
            place = bbox_from_keypoints(keypoints, visible)
        tokens = tokenizer.encode(keypoints, visible, place).cpu().numpy().astype(np.int32)
        made = {} if name in batch else {name: place.numpy()}
        return {TOKENS: tokens, **made, FINGERPRINT: [tokenizer.fingerprint()] * len(tokens)}

    def decode_columns(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Turn rows of tokens back into poses: ``dataset.map(tokenizer.decode_columns, batched=True)``.

        Args:
            batch: ``tokens``, ``fingerprint``, and ``bbox`` or ``root``, as :meth:`encode_columns` gives them.

        Returns:
            ``keypoints`` (B, K, D), float32, in image pixels or millimetres.

        Raises:
            ValueError: If a column is missing, another model made a row, and as :meth:`pct.PoseTokenizer.decode`.
        """
        tokenizer = cast("PoseTokenizer", self)
        ours = tokenizer.fingerprint()
        for row, theirs in enumerate(_column(batch, FINGERPRINT)):
            if str(theirs) != ours:
                raise ValueError(
                    f"row {row} holds tokens of another model, with fingerprint {theirs}; this model has {ours}"
                )
        indices = torch.as_tensor(np.asarray(_column(batch, TOKENS)))
        return {KEYPOINTS: tokenizer.decode(indices, _numbers(batch, tokenizer.space.reference_name, 2)).cpu().numpy()}


def _column(batch: Mapping[str, Any], name: str) -> Any:
    if name not in batch:
        raise ValueError(f"the rows have no column {name!r}; they have {', '.join(map(repr, batch)) or 'none'}")
    return batch[name]


def _numbers(batch: Mapping[str, Any], name: str, axes: int) -> Tensor:
    """Return a column of numbers as float32 with so many axes; a missing number (None) is NaN."""
    column = _column(batch, name)
    try:
        numbers = np.array([_array(row) for row in column], np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} must hold numbers, as many in each row: {error}") from None
    if numbers.ndim != axes and numbers.size:
        raise ValueError(f"column {name!r} has shape {numbers.shape}; it must have {axes} axes")
    return torch.from_numpy(numbers)


def _array(value: Any) -> np.ndarray:
    """Return nested values as one array of float32; Ray and Arrow give nested lists as arrays of arrays."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return np.stack([_array(part) for part in value])
    return np.asarray(value, np.float32)
