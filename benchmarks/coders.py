"""Ways to write poses as integers that are fitted to training poses: principal components and residual k-means."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pct.evaluation.tokens.coders import Codec, Coder, check_step
from pct.evaluation.tokens.completion import RidgeRegression
from pct.tokenizer.search import NearestEntry

# Of the rounding of the principal components, by report unit.
STEPS = {"px": 4.0, "mm": 40.0}
# More training poses than these take longer and change the numbers by a few hundredths.
_FITTED = 65_536
_CENTRES, _STAGES, _STEPS = 1024, 16, 2
# Fewer training poses for each centre would be learned by heart.
_POSES_A_CENTRE = 8


def fit_coders(codec: Codec, baseline: RidgeRegression, seed: int = 0) -> list[Coder]:
    """Fit coders to training poses.

    Args:
        codec: Whose report units the poses are in.
        baseline: What was fitted to training poses, and these.
        seed: Of everything random.
    """
    rows = torch.randperm(len(baseline.keypoints), generator=torch.Generator().manual_seed(seed))[:_FITTED]
    whole = fill(baseline, baseline.keypoints[rows], baseline.visible[rows])
    return [PrincipalComponents(STEPS[codec.unit], baseline, whole, codec.unit), ResidualKMeans(baseline, whole, seed)]


def check_frames(codecs: Sequence[Codec]) -> None:
    """Raise a ValueError unless all tokenizers are of one skeleton and pose space."""
    first, *others = codecs
    for other in others:
        frames = [(c.unit, c.space.crop_size, c.space.padding, c.tokenizer.skeleton) for c in (first, other)]
        if frames[0] != frames[1]:
            raise ValueError(
                f"{other.name} and {first.name} have other joints or another crop; measure them one by one"
            )


def fill(baseline: RidgeRegression, keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return joints (N, K * D), float32, filled in by a baseline where not ``visible`` (N, K)."""
    return baseline(keypoints, visible, ~visible).flatten(1).float()


class PrincipalComponents(Coder):
    """The KLT: principal components of the training poses, all rounded with one step; see :class:`Coder`.

    Token m is the pose's coordinate along the m-th component, the one with the largest variance first. Unknown joints
    are filled in first.

    Args:
        step: Of the rounding, in report units.
        baseline: It fills in unknown joints.
        whole: Training poses (N, K * D).
        unit: Name of the report unit.

    Raises:
        ValueError: If the step is not positive.
    """

    def __init__(self, step: float, baseline: RidgeRegression, whole: Tensor, unit: str) -> None:
        check_step(step)
        self.name, self.step, self.baseline = f"KLT, step {step:g} {unit}", step, baseline
        self.mean = whole.double().mean(dim=0)
        spread, directions = torch.linalg.eigh(torch.cov(whole.double().t()))
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
        levels = self._levels(fill(self.baseline, keypoints, visible)) - self.lowest
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
        baseline: It fills in unknown joints.
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
        left, indices = fill(self.baseline, keypoints, visible), []
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


def _fit_centres(x: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Return centres (number, F) of numbers (N, F) by a few steps of Lloyd's algorithm from random rows."""
    centres = x[torch.randperm(len(x), generator=generator)[:number]]
    for _ in range(_STEPS):
        nearest = NearestEntry(centres)(x)
        count = torch.bincount(nearest, minlength=number)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, x)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return centres
