"""Plainer ways than a tokenizer to write poses as integers: bins, principal components, residual k-means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.completion import RidgeRegression
from pct.tokenizer.search import NearestEntry

# Longest distance of a joint from the root that bins reach, in millimetres: a raised hand of a tall person.
_REACH = 1600.0
# More training poses than these take longer and change the numbers by a few hundredths.
_FITTED = 65_536
_CENTRES, _STAGES, _STEPS = 1024, 16, 2
# Fewer training poses for each centre would be learned by heart.
_POSES_A_CENTRE = 8


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


class Bins(Coder):
    """Every coordinate by itself, rounded to the middle of a bin; see :class:`Coder`.

    Args:
        step: Width of a bin in report units.
        codec: Whose crop, or whose root, the bins lie around; what lies outside goes into the outermost bin.

    Raises:
        ValueError: If the step is not positive.
    """

    def __init__(self, step: float, codec: Codec) -> None:
        _check_step(step)
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


class PrincipalComponents(Coder):
    """The KLT: principal components of the training poses, all rounded with one step; see :class:`Coder`.

    Token m is the pose's coordinate along the m-th component, the one with the largest variance first. Unknown joints
    are filled in first.

    Args:
        step: Of the rounding, in report units.
        baseline: Whose Gaussian the components are of; it fills in unknown joints.
        whole: Training poses (N, K * D), which say how many steps there are.
        unit: Name of the report unit.

    Raises:
        ValueError: If the step is not positive.
    """

    def __init__(self, step: float, baseline: RidgeRegression, whole: Tensor, unit: str) -> None:
        _check_step(step)
        self.name, self.step, self.baseline = f"KLT, step {step:g} {unit}", step, baseline
        self.mean, covariance = baseline.prior
        spread, directions = torch.linalg.eigh(covariance)
        # Directions in which nothing moves, such as those of the root, need no token; the first one always has one.
        moves = spread.flip(0) > 1e-9 * spread[-1]
        moves[0] = True
        self.basis = directions.flip(1)[:, moves].float()  # (K * D, M)
        levels = self._levels(whole)
        self.lowest = levels.amin(dim=0)
        self.sizes = tuple((levels.amax(dim=0) - self.lowest + 1).tolist())
        self.prefixes = tuple(range(1, len(self.sizes) + 1))

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """See :class:`Coder`."""
        levels = self._levels(self.baseline.fill(keypoints, visible)) - self.lowest
        return levels.clamp(min=0).minimum(torch.tensor(self.sizes) - 1)

    def decode(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        flat = self.embed(indices).squeeze(-1) @ self.basis[:, : indices.shape[1]].t() + self.mean.float()
        return flat.unflatten(1, self.baseline.keypoints.shape[1:])

    def embed(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        return ((indices + self.lowest[: indices.shape[1]]) * self.step)[..., None]

    def _levels(self, flat: Tensor) -> Tensor:
        return ((flat - self.mean.float()) @ self.basis / self.step).round().long()


class ResidualKMeans(Coder):
    """K-means centres of whole poses, then of what they leave out, and so on; see :class:`Coder`.

    Unknown joints are filled in first.

    Args:
        baseline: Whose Gaussian fills in unknown joints.
        whole: Training poses (N, K * D) that the centres are fitted to.
        seed: Of the poses that the centres start at.
    """

    name = "residual k-means"

    def __init__(self, baseline: RidgeRegression, whole: Tensor, seed: int = 0) -> None:
        self.baseline = baseline
        generator = torch.Generator().manual_seed(seed)
        left = whole
        number = max(1, min(_CENTRES, len(left) // _POSES_A_CENTRE))
        stages = []
        for _ in range(_STAGES):
            stages.append(_fit_centres(left, number, generator))
            left = left - stages[-1][NearestEntry(stages[-1])(left)]
        self.centres = torch.stack(stages)  # (M, V, K * D)
        self.sizes = (number,) * _STAGES
        self.prefixes = tuple(range(1, _STAGES + 1))

    def encode(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """See :class:`Coder`."""
        left, indices = self.baseline.fill(keypoints, visible), []
        for centres in self.centres:
            indices.append(NearestEntry(centres)(left))
            left = left - centres[indices[-1]]
        return torch.stack(indices, dim=1)

    def decode(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        return self.embed(indices).sum(dim=1).unflatten(1, self.baseline.keypoints.shape[1:])

    def embed(self, indices: Tensor) -> Tensor:
        """See :class:`Coder`."""
        return self.centres[torch.arange(indices.shape[1]), indices]


def build_coders(
    codecs: Sequence[Codec], baseline: RidgeRegression | None, bins: Sequence[float], step: float, seed: int = 0
) -> list[Coder]:
    """Return tokenizers, plain bins, and, where there are training poses, what is fitted to them.

    Args:
        codecs: Tokenizers of one skeleton and pose space.
        baseline: What was fitted to training poses, and these.
        bins: Widths of the bins in report units.
        step: Of the rounding of the principal components, in report units.
        seed: Of everything random.

    Raises:
        ValueError: If there is no tokenizer, or they are not of one skeleton and pose space.
    """
    if not codecs:
        raise ValueError("there is no tokenizer to measure")
    first, *others = codecs
    for other in others:
        frames = [(c.unit, c.space.crop_size, c.space.padding, c.tokenizer.skeleton) for c in (first, other)]
        if frames[0] != frames[1]:
            raise ValueError(
                f"{other.name} and {first.name} have other joints or another crop; measure them one by one"
            )
    coders: list[Coder] = [*codecs, *(Bins(width, first) for width in bins)]
    if baseline is not None:
        rows = torch.randperm(len(baseline.keypoints), generator=torch.Generator().manual_seed(seed))[:_FITTED]
        whole = baseline.fill(baseline.keypoints[rows], baseline.visible[rows])
        coders += [PrincipalComponents(step, baseline, whole, first.unit), ResidualKMeans(baseline, whole, seed)]
    return coders


def _check_step(step: float) -> None:
    if not 0 < step < math.inf:
        raise ValueError(f"the step is {step}; it must be positive and finite")


def _fit_centres(x: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Return centres (number, F) of numbers (N, F) by a few steps of Lloyd's algorithm from random rows."""
    centres = x[torch.randperm(len(x), generator=generator)[:number]]
    for _ in range(_STEPS):
        nearest = NearestEntry(centres)(x)
        count = torch.bincount(nearest, minlength=number)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, x)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
