"""Ways to write poses as integers: a tokenizer, in the units of reports, and beside it plain bins."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from pct.poses import Poses
from pct.tokenizer import PoseTokenizer
from pct.training.tokenizer.augment import seen_by_cameras

# Longest distance of a joint from the root that bins reach, in millimetres: a raised hand of a tall person.
_REACH = 1600.0


class Coder(Protocol):
    """Poses to integers and back, in report units (pixels of the crop, or millimetres from the root).

    Attributes:
        name: What reports call it.
        sizes: How many ids each of the M token positions can take.
        prefixes: The lengths that :meth:`decode` takes, ascending; the last one is M.
        unknown: An id that only says that a joint is unknown; None where there is none.
    """

    name: str
    sizes: tuple[int, ...]
    prefixes: tuple[int, ...]
    unknown: int | None = None

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Turn joints (N, K, D), known where ``visible`` (N, K), into ids (N, M), int64."""
        ...

    def decode(self, indices: Tensor) -> Tensor:
        """Turn ids (N, M), or a prefix, into joints (N, K, D); joints that are said to be unknown are NaN."""
        ...

    def embed(self, indices: Tensor) -> Tensor:
        """Return vectors (N, M, E) of ids (N, M); near vectors at one position say like things."""
        ...


class Codec(Coder):
    """``encode`` and ``decode`` in one unit for all poses, so that errors of large and small persons are alike.

    2D joints lie in the square crop: [0, crop_size], x right, y down. 3D joints are relative to the root joint, which
    is the origin and therefore always known; the decoded root is subtracted from every joint. Everything goes through
    the tokenizer's own calls.

    Args:
        tokenizer: The model.
        name: What reports call it.

    Attributes:
        unit: ``px`` or ``mm``.
        root: Joint at the origin of 3D poses; None in 2D.
    """

    def __init__(self, tokenizer: PoseTokenizer, name: str = "tokenizer") -> None:
        self.name, self.tokenizer, self.space = name, tokenizer, tokenizer.space
        self.unit = self.space.report_unit
        self.root = self.space.root if self.space.kind == "root3d" else None
        tokens = tokenizer.config.num_tokens
        self.sizes = (tokenizer.config.codebook_size,) * tokens
        self.prefixes = tuple(range(tokenizer.shortest_prefix, tokens + 1))
        self._frame = self.space.standard_reference()[None]

    def view(self, poses: Poses, seed: int = 0) -> Tensor:
        """Return the joints (N, K, D) of a table in report units; 3D poses as random cameras of ``seed`` see them.

        Raises:
            ValueError: If the poses have another number of coordinates than the tokenizer's.
        """
        self.check(poses)
        if poses.num_dims == 3:
            return seen_by_cameras(poses, self.space, seed) * self.space.millimetres
        return self.space.report_space.normalise(poses.keypoints, poses.bbox)

    def check(self, poses: Poses) -> None:
        """Raise a ValueError if a table is not of the tokenizer's number of coordinates."""
        if poses.num_dims != self.space.num_dims:
            raise ValueError(f"the poses are {poses.num_dims}D; this tokenizer's pose space is {self.space.kind}")

    def hideable(self, visible: Tensor) -> Tensor:
        """Return which known joints (N, K) can be hidden: all but the root."""
        return visible if self.root is None else visible & (torch.arange(visible.shape[1]) != self.root)

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """See :class:`Coder`; tokens are on the CPU."""
        return self.tokenizer.encode(keypoints, visible, self._frame.expand(len(keypoints), -1)).cpu()

    def decode(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`; a decoded root is put at the origin."""
        decoded = self.tokenizer.decode(indices, self._frame.expand(len(indices), -1)).cpu()
        return decoded if self.root is None else decoded - decoded[:, self.root : self.root + 1]

    def embed(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        return self.tokenizer.embed(indices).cpu()

    def complete(self, keypoints: Tensor, visible: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Fill in joints (N, K, D) that are not ``visible`` (N, K); all are, so ``wanted`` is not used."""
        if self.root is not None:
            is_root = torch.arange(keypoints.shape[1]) == self.root
            keypoints, visible = keypoints.masked_fill(is_root[:, None], 0.0), visible | is_root
        return self.decode(self.encode(keypoints, visible))


class Bins(Coder):
    """Every coordinate by itself, rounded to the middle of a bin; see :class:`Coder`.

    Args:
        step: Width of a bin in report units.
        codec: Whose crop, or whose root, the bins lie around; what lies outside goes into the outermost bin.

    Raises:
        ValueError: If the step is not positive.
    """

    def __init__(self, step: float, codec: Codec) -> None:
        check_step(step)
        self.step, self.num_keypoints, self.dims = step, codec.tokenizer.skeleton.num_keypoints, codec.space.num_dims
        self.name = f"bins of {step:g} {codec.unit}"
        self.joints = [joint for joint in range(self.num_keypoints) if joint != codec.root]
        self.low, high = (0.0, float(codec.space.crop_size)) if codec.root is None else (-_REACH, _REACH)
        self.count = self.unknown = max(1, round((high - self.low) / step))
        self.sizes = (self.count + 1,) * (len(self.joints) * self.dims)
        self.prefixes = (len(self.sizes),)

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """See :class:`Coder`."""
        place = ((keypoints[:, self.joints] - self.low) / self.step).nan_to_num().floor().clamp(0, self.count - 1)
        return torch.where(visible[:, self.joints, None], place.long(), self.count).flatten(1)

    def decode(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        keypoints = torch.zeros(len(indices), self.num_keypoints, self.dims)
        keypoints[:, self.joints] = self.embed(indices).unflatten(1, (-1, self.dims)).squeeze(-1)
        return keypoints

    def embed(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        middle = (indices + 0.5) * self.step + self.low
        return middle.masked_fill(indices == self.count, torch.nan)[..., None]


def check_step(step: float) -> None:
    """Raise a ValueError unless a step is positive and finite."""
    if not 0 < step < math.inf:
        raise ValueError(f"the step is {step}; it must be positive and finite")
