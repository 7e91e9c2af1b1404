"""PersonPoses: poses, tokens and confidence of the persons of a photo, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class PersonPoses:
    """Poses of the N persons of a photo, in the order of their boxes.

    Coordinates (D = 2) are image pixels, x right and y down, with the first pixel's centre at (0, 0); those of models
    of 3D poses (D = 3) are millimetres from the root joint in the camera's axes: x right, y down, z away from it.

    Attributes:
        keypoints: The expected poses (N, K, D), float32: what is most accurate.
        scores: Confidence of each joint (N, K) in [0, 1]: the keypoint similarity that is expected of it, measured by
            OKS's scales on photos and by 100 mm for all joints in space (see :mod:`pct.evaluation.metrics`).
        published_score: The score of each pose (N,) as PCT's release has it: the mean over the tokens of the largest
            logit, a number without bounds that ranks poses and is no probability.
        indices: The most likely integer tokens (N, M), int64.
        token_probs: Their probabilities (N, M).
        likely_keypoints: Poses (N, K, D) that the most likely tokens decode to.
        samples: Poses (S, N, K, D) that sampled tokens decode to: what else the photo may show.
        bbox: The boxes (N, 4) as x, y, width, height in image pixels, float32.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    published_score: np.ndarray
    indices: np.ndarray
    token_probs: np.ndarray
    likely_keypoints: np.ndarray
    samples: np.ndarray
    bbox: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def is_3d(self) -> bool:
        """Whether the coordinates are millimetres in space."""
        return self.keypoints.shape[2] == 3

    def select(self, rows: slice) -> PersonPoses:
        """Return some of the persons."""
        return PersonPoses(**{name: a[:, rows] if name == "samples" else a[rows] for name, a in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: list[PersonPoses]) -> PersonPoses:
        """Put persons one after the other; there must be at least one part."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts], axis=int(n == "samples")) for n in names})
