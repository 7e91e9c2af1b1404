"""Poses of the persons on a photo: as arrays (PersonPoses), and as the field knows them (PoseResult)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pct.drawing.poses2d import COLOURED, PoseLayer, draw_pose, write_jpeg, write_png
from pct.drawing.poses3d import draw_beside
from pct.packages import explain_missing
from pct.photos.results.sources import Frame
from pct.skeleton import Skeleton

# Joints below this confidence are drawn hollow.
_SURE = 0.3
# Longer side in pixels of the persons that the usual style of drawing suits.
_DRAWN_SIZE = 300


@dataclass(frozen=True)
class PersonPoses:
    """Poses of the N persons of a photo, in the order of their boxes.

    Coordinates (D = 2) are image pixels, x right and y down, with the first pixel's centre at (0, 0); those of models
    of 3D poses (D = 3) are millimetres from the root joint in the camera's axes: x right, y down, z away from it.

    Attributes:
        keypoints: The expected poses (N, K, D), float32: what is most accurate.
        scores: Confidence of each joint (N, K) in [0, 1]: the keypoint similarity that is expected of it, measured by
            OKS's scales on photos and by 100 mm for all joints in space (see :mod:`pct.evaluation.metrics`).
        pose_scores: What poses are ranked by (N,): the mean confidence of the joints, each weighed by itself. By
            published conventions it is the mean over the tokens of the largest logit, which has no bounds and is no
            probability.
        indices: The most likely integer tokens (N, M), int64.
        token_probs: Their probabilities (N, M).
        likely_keypoints: Poses (N, K, D) that the most likely tokens decode to.
        samples: Poses (S, N, K, D) that sampled tokens decode to: what else the photo may show.
        bbox: The boxes (N, 4) as x, y, width, height in image pixels, float32.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    pose_scores: np.ndarray
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


@dataclass(frozen=True)
class Keypoints:
    """Joints of the N persons of a photo.

    Attributes:
        data: The expected poses (N, K, D), float32; see :class:`PersonPoses`.
        conf: Confidence of each joint (N, K) in [0, 1].
        orig_shape: Height and width of the photo.
    """

    data: np.ndarray
    conf: np.ndarray
    orig_shape: tuple[int, int]

    @property
    def xy(self) -> np.ndarray:
        """Image pixels (N, K, 2), x right and y down; ValueError if the model's poses are 3D."""
        return self._of_dims(2, "millimetres in space, no places on the photo; take .xyz")

    @property
    def xyn(self) -> np.ndarray:
        """As :attr:`xy`, as shares of the photo's width and height."""
        return self.xy / np.array(self.orig_shape[::-1], np.float32)

    @property
    def xyz(self) -> np.ndarray:
        """Millimetres (N, K, 3) from the root joint, axes as of the camera; ValueError if the model's poses are 2D."""
        return self._of_dims(3, "places on the photo; take .xy, and pct.lifting for 3D poses")

    def _of_dims(self, dims: int, others: str) -> np.ndarray:
        if self.data.shape[2] != dims:
            raise ValueError(f"the poses of this model are {others}")
        return self.data


@dataclass(frozen=True)
class Boxes:
    """Boxes of the N persons of a photo.

    Attributes:
        xyxy: Corners x1, y1, x2, y2 (N, 4) in image pixels, float32.
        conf: The detector's scores (N,); 1 where boxes were given.
        id: Tracks (N,), int64, from 1, and -1 for persons in none, as in the frame where they first appear; None where
            persons were not followed.
    """

    xyxy: np.ndarray
    conf: np.ndarray
    id: np.ndarray | None


@dataclass(frozen=True)
class Tokens:
    """The most likely integer tokens of the N persons: ids (N, M), int64, and their probabilities (N, M)."""

    ids: np.ndarray
    probs: np.ndarray


@dataclass(frozen=True, repr=False)
class PoseResult:
    """Poses, tokens and boxes of the persons on one photo; of none, on a photo without persons.

    Attributes:
        frame: The photo.
        persons: All that was estimated, as arrays.
        skeleton: Whose joints the poses have.
        box_scores: The detector's scores (N,).
        scores: What ranks the persons over many photos (N,): the ``pose_scores`` of ``persons`` times the boxes'.
        track_ids: As in :class:`Boxes`.
    """

    frame: Frame
    persons: PersonPoses
    skeleton: Skeleton
    box_scores: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.persons)

    def __repr__(self) -> str:
        height, width = self.orig_shape
        return f"PoseResult({len(self)} persons on {self.path or 'a photo'} of {width}x{height} pixels)"

    @property
    def path(self) -> str | None:
        """The file; None for a photo that was given as an array."""
        return None if self.frame.source is None else str(self.frame.source.path)

    @property
    def orig_img(self) -> np.ndarray:
        """The photo (H, W, 3), uint8 RGB."""
        return self.frame.image

    @property
    def orig_shape(self) -> tuple[int, int]:
        """Height and width of the photo."""
        height, width = self.frame.image.shape[:2]
        return height, width

    @property
    def keypoints(self) -> Keypoints:
        """The expected poses."""
        return Keypoints(self.persons.keypoints, self.persons.scores, self.orig_shape)

    @property
    def boxes(self) -> Boxes:
        """Where the persons are."""
        box = self.persons.bbox
        corners = np.concatenate([box[:, :2], box[:, :2] + box[:, 2:]], axis=1)
        return Boxes(corners, self.box_scores, self.track_ids)

    @property
    def tokens(self) -> Tokens:
        """The poses as integers."""
        return Tokens(self.persons.indices, self.persons.token_probs)

    @property
    def samples(self) -> np.ndarray:
        """Other poses that the photo allows (S, N, K, D), as :attr:`keypoints`."""
        return self.persons.samples

    def draw(self) -> np.ndarray:
        """Return the photo (H, W, 3), uint8 RGB, with the expected poses on it; joints of low confidence are hollow.

        3D poses stand beside the photo, on which their boxes are drawn: each as seen from the camera and turned, in the
        order of the boxes. The size of the picture depends on the photo's alone, not on the number of persons.
        """
        persons, image = self.persons, self.orig_img
        layers = [
            PoseLayer(pose, known) for pose, known in zip(persons.keypoints, persons.scores >= _SURE, strict=True)
        ]
        if persons.is_3d:
            return draw_beside(image, self.boxes.xyxy, layers, self.skeleton)
        for row in np.argsort(persons.pose_scores):
            size = min(max(float(persons.bbox[row, 2:].max()), _DRAWN_SIZE / 4), 4 * _DRAWN_SIZE)
            image = draw_pose(image, replace(layers[row], style=COLOURED.scaled(size, _DRAWN_SIZE)), self.skeleton)
        return image

    def plot(self) -> Any:
        """Return :meth:`draw` as a Pillow picture."""
        from PIL import Image

        return Image.fromarray(self.draw())

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write :meth:`draw` to a JPEG or PNG file, by the suffix of ``path``; ValueError if that is another.

        Raises:
            FileExistsError: If the file exists and ``force`` is not set.
        """
        writers = {".jpg": write_jpeg, ".jpeg": write_jpeg, ".png": write_png}
        write = writers.get(Path(path).suffix.lower())
        if write is None:
            raise ValueError(f"{path}: pictures are written as {', '.join(writers)}")
        write(self.draw(), path, force)

    def summary(self) -> list[dict[str, Any]]:
        """Return a COCO result for each person, as plain values.

        Each has ``bbox``, ``keypoints`` as x, y, confidence (3D: ``keypoints3d`` and ``scores``), ``score``,
        ``tokens``, ``token_probs``, ``file_name`` if the photo is a file, and ``track_id`` if it is in a track.
        """
        persons, entries = self.persons, []
        for row in range(len(self)):
            entry = {
                "bbox": _short(persons.bbox[row], 3),
                **_joints(persons.keypoints[row], persons.scores[row]),
                "score": round(float(self.scores[row]), 6),
                "tokens": persons.indices[row].tolist(),
                "token_probs": _short(persons.token_probs[row], 4),
            }
            if self.frame.name:
                entry["file_name"] = self.frame.name
            if self.track_ids is not None and self.track_ids[row] >= 0:
                entry["track_id"] = int(self.track_ids[row])
            entries.append(entry)
        return entries

    def to_json(self) -> str:
        """Return :meth:`summary` as JSON, which `pct encode` reads."""
        entries = [{"image_id": 1, "category_id": 1, **entry, "id": i} for i, entry in enumerate(self.summary(), 1)]
        return json.dumps(entries, allow_nan=False)

    def to_df(self) -> Any:
        """Return a pandas table with a row a person: box, score, track, joints and tokens in columns of their own."""
        with explain_missing():
            from pandas import DataFrame
        joints = self.skeleton.keypoint_names
        axes = "xyz"[: self.persons.keypoints.shape[2]]
        boxes, tracks = self.boxes, [-1] * len(self) if self.track_ids is None else self.track_ids
        columns: dict[str, Any] = {"path": [self.path] * len(self), "track_id": tracks, "score": self.scores}
        columns |= {name: boxes.xyxy[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
        for k, joint in enumerate(joints):
            columns |= {f"{joint}_{axis}": self.persons.keypoints[:, k, i] for i, axis in enumerate(axes)}
            columns[f"{joint}_conf"] = self.persons.scores[:, k]
        columns |= {f"token_{i}": ids for i, ids in enumerate(self.persons.indices.T)}
        return DataFrame(columns)

    def to_supervision(self) -> Any:
        """Return ``supervision.KeyPoints`` with the tokens (and tracks) as ``data``, for that package's annotators."""
        with explain_missing():
            from supervision import KeyPoints
        data: dict[str, Any] = {"tokens": self.tokens.ids}
        if self.track_ids is not None:
            data["track_id"] = self.track_ids
        return KeyPoints(
            self.keypoints.xy, keypoint_confidence=self.keypoints.conf, detection_confidence=self.box_scores, data=data
        )


def _joints(keypoints: np.ndarray, scores: np.ndarray) -> dict[str, list[Any]]:
    """Return a pose as COCO writes it, or where it is 3D as ``keypoints3d`` with the joints' confidence beside it."""
    if keypoints.shape[1] == 3:
        return {"keypoints3d": keypoints.astype(np.float64).round(1).tolist(), "scores": _short(scores, 4)}
    joints = np.column_stack([keypoints.astype(np.float64).round(2), scores.round(4)])
    return {"keypoints": _short(joints.reshape(-1), 4)}


def _short(values: np.ndarray, digits: int) -> list[float]:
    return [round(value, digits) for value in values.astype(np.float64).tolist()]
