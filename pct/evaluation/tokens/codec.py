"""A tokenizer in the units of reports: pixels of its crop for poses in images, millimetres from the root in 3D."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.poses import Poses
from pct.tokenizer import PoseTokenizer
from pct.training.tokenizer.augment3d import seen_by_cameras


class Codec:
    """``encode`` and ``decode`` in one unit for all poses, so that errors of large and small persons are alike.

    2D joints lie in the square crop: [0, crop_size], x right, y down. 3D joints are relative to the root joint, which
    is the origin and therefore always known; the decoded root is subtracted from every joint. Everything goes through
    the tokenizer's own calls. It is a :class:`~pct.evaluation.tokens.coders.Coder`.

    Args:
        tokenizer: The model.
        name: What reports call it.

    Attributes:
        unit: ``px`` or ``mm``.
        root: Joint at the origin of 3D poses; None in 2D.
    """

    unknown: int | None = None

    def __init__(self, tokenizer: PoseTokenizer, name: str = "tokenizer") -> None:
        self.name, self.tokenizer, self.space = name, tokenizer, tokenizer.space
        self.unit = self.space.report_unit
        self.root = self.space.root if self.space.kind == "root3d" else None
        tokens = tokenizer.config.num_tokens
        self.sizes = (tokenizer.config.codebook_size,) * tokens
        self.prefixes = tuple(range(tokenizer.shortest_prefix, tokens + 1))
        # The box whose crop is the square, or a root at the origin.
        side = self.space.crop_size / self.space.padding
        first = (self.space.crop_size - side) / 2
        frame = [0.0, 0.0, 0.0] if self.root is not None else [first, first, side, side]
        self._frame = torch.tensor([frame], dtype=torch.float64)

    def view(self, poses: Poses, seed: int = 0) -> Tensor:
        """Return the joints (N, K, D) of a table in report units; bodies as random cameras of ``seed`` see them.

        Raises:
            ValueError: If the poses have another number of coordinates than the tokenizer's.
        """
        self.check(poses)
        if poses.num_dims == 3:
            return seen_by_cameras(poses, self.space, seed) * self.space.millimetres
        return self.to_crop(poses.keypoints, poses.bbox)

    def check(self, poses: Poses) -> None:
        """Raise a ValueError if a table is not of the tokenizer's number of coordinates."""
        if poses.num_dims != self.space.num_dims:
            given = f"{poses.num_dims}D"
            raise ValueError(f"the poses are {given}; this tokenizer's pose space is {self.space.kind}")

    def to_crop(self, keypoints: Tensor, bbox: Tensor) -> Tensor:
        """Bring joints (N, K, 2) in image pixels, with boxes (N, 4), into pixels of the crop."""
        return (self.space.normalise(keypoints, bbox) - self.space.bounds[0]) * self.space.report_scale

    def hideable(self, visible: Tensor) -> Tensor:
        """Return which known joints (N, K) can be hidden: all but the root."""
        return visible if self.root is None else visible & (torch.arange(visible.shape[1]) != self.root)

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Turn joints (N, K, D) into tokens (N, M) on the CPU."""
        return self.tokenizer.encode(keypoints, visible, self._frame.expand(len(keypoints), -1)).cpu()

    def decode(self, indices: Tensor) -> Tensor:
        """Turn tokens (N, M), or a prefix that the tokenizer can decode, into joints (N, K, D) on the CPU."""
        decoded = self.tokenizer.decode(indices, self._frame.expand(len(indices), -1)).cpu()
        return decoded if self.root is None else decoded - decoded[:, self.root : self.root + 1]

    def embed(self, indices: Tensor) -> Tensor:
        """Return the vectors (N, M, E) of tokens (N, M) on the CPU."""
        return self.tokenizer.embed(indices).cpu()

    def complete(self, keypoints: Tensor, visible: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Fill in joints (N, K, D) that are not ``visible`` (N, K); all are, so ``wanted`` is not used."""
        if self.root is not None:
            is_root = torch.arange(keypoints.shape[1]) == self.root
            keypoints, visible = keypoints.masked_fill(is_root[:, None], 0.0), visible | is_root
        return self.decode(self.encode(keypoints, visible))
