"""Skeletons: who the joints of a pose are (names, bones, flip pairs, OKS sigmas, hops, body parts)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.yaml_text import read_yaml
from pct.sides import derive_flip_pairs as derive_flip_pairs

# Used where a skeleton names no sigmas: the mean of COCO's body sigmas, rounded.
DEFAULT_SIGMA = 0.07

# Words that place a joint in a body part; the first match wins.
_PART_WORDS = {
    "head": ("nose", "eye", "ear", "head", "neck_nose", "face"),
    "arms": ("elbow", "wrist", "hand"),
    "legs": ("knee", "ankle", "foot", "toe", "heel"),
    "torso": ("shoulder", "hip", "pelvis", "spine", "thorax", "neck", "root", "torso"),
}
_LOWER_WORDS = ("hip", "knee", "ankle", "foot", "toe", "heel", "pelvis")


@dataclass(frozen=True)
class Skeleton:
    """The joints of a pose and how they hang together.

    Attributes:
        name: Unique name; a saved model refuses poses of a skeleton with other joints.
        keypoint_names: One name a joint, in the order of the arrays.
        edges: Bones as pairs of 0-based joint indices.
        flip_pairs: Left/right pairs of joint indices that a mirror swaps.
        sigmas: OKS constants (COCO's sigma, so that 2 sigma is the standard deviation of annotators relative to
            the square root of the area). Empty means ``DEFAULT_SIGMA`` for every joint.

    Raises:
        ValueError: If names repeat, an index is out of range, or the lengths disagree.
    """

    name: str
    keypoint_names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        names = self.keypoint_names
        if not names:
            raise ValueError(f"skeleton {self.name!r} has no keypoint names")
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise ValueError(f"skeleton {self.name!r} names joints twice: {', '.join(repeated)}")
        for kind, pairs in (("edge", self.edges), ("flip pair", self.flip_pairs)):
            for pair in pairs:
                if len(pair) != 2 or pair[0] == pair[1] or not all(0 <= i < len(names) for i in pair):
                    raise ValueError(
                        f"skeleton {self.name!r}: {kind} {pair} must be two different indices "
                        f"from 0 to {len(names) - 1}"
                    )
        flipped = [i for pair in self.flip_pairs for i in pair]
        if len(set(flipped)) != len(flipped):
            raise ValueError(f"skeleton {self.name!r}: a joint is in two flip pairs: {self.flip_pairs}")
        if self.sigmas and len(self.sigmas) != len(names):
            raise ValueError(f"skeleton {self.name!r} has {len(self.sigmas)} sigmas for {len(names)} joints")
        if any(not s > 0 for s in self.sigmas):
            raise ValueError(f"skeleton {self.name!r}: sigmas must be positive, got {self.sigmas}")

    @property
    def num_keypoints(self) -> int:
        """Number of joints K."""
        return len(self.keypoint_names)

    @cached_property
    def flip_index(self) -> np.ndarray:
        """Permutation (K,) with ``mirrored = keypoints[..., flip_index, :]`` after negating x."""
        index = np.arange(self.num_keypoints)
        for left, right in self.flip_pairs:
            index[left], index[right] = right, left
        return index

    @cached_property
    def oks_sigmas(self) -> np.ndarray:
        """OKS sigmas (K,), the default filled in."""
        if self.sigmas:
            return np.asarray(self.sigmas, dtype=np.float64)
        return np.full(self.num_keypoints, DEFAULT_SIGMA)

    @cached_property
    def hops(self) -> np.ndarray:
        """Number of bones on the shortest way between two joints (K, K); K where they are not connected."""
        k = self.num_keypoints
        distance = np.where(np.eye(k, dtype=bool), 0, k)
        for a, b in self.edges:
            distance[a, b] = distance[b, a] = 1
        for joint in range(k):  # Floyd and Warshall: ways over one joint more
            distance = np.minimum(distance, distance[:, joint, None] + distance[joint])
        return distance

    @cached_property
    def parts(self) -> dict[str, tuple[int, ...]]:
        """Joint indices by body part, from the joints' names; joints that no word fits are under ``other``."""
        found: dict[str, list[int]] = {}
        for i, name in enumerate(self.keypoint_names):
            low = name.lower()
            part = next((p for p, words in _PART_WORDS.items() if any(w in low for w in words)), "other")
            found.setdefault(part, []).append(i)
        return {part: tuple(joints) for part, joints in found.items()}

    @cached_property
    def lower_body(self) -> tuple[int, ...]:
        """Joints from the hips down, from the joints' names."""
        return tuple(i for i, n in enumerate(self.keypoint_names) if any(w in n.lower() for w in _LOWER_WORDS))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which :meth:`from_dict` builds the same skeleton."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Skeleton:
        """Build a skeleton from plain values.

        Args:
            values: ``name`` and ``keypoint_names``; optionally ``edges`` and ``flip_pairs`` (as names or 0-based
                indices) and ``sigmas``. Flip pairs that are not given follow from left/right in the names.

        Raises:
            ValueError: On a missing or unknown key, an unknown joint name, or inconsistent lengths.
        """
        known = {"name", "keypoint_names", "edges", "flip_pairs", "sigmas"}
        unknown = sorted(map(str, set(values) - known))
        missing = sorted({"name", "keypoint_names"} - set(values))
        if unknown or missing:
            raise ValueError(f"skeleton: unknown keys {unknown}, missing keys {missing}; known are {sorted(known)}")
        if not isinstance(values["keypoint_names"], (list, tuple)):
            raise ValueError(f"skeleton: keypoint_names is {values['keypoint_names']!r}; it must be a list of names")
        for name in values["keypoint_names"]:
            if not isinstance(name, str):
                raise ValueError(f"skeleton: the joint name {name!r} is no text; put it into quotes")
        names = tuple(values["keypoint_names"])
        flip_pairs = values.get("flip_pairs")
        if flip_pairs is None:
            flip_pairs = derive_flip_pairs(names)
        sigmas = values.get("sigmas") or ()
        if not (isinstance(sigmas, (list, tuple)) and all(type(s) in (int, float) for s in sigmas)):
            raise ValueError(f"skeleton: sigmas is {str(sigmas)[:60]}; it must be a list of numbers, one a joint")
        # A saved model says `sigmas: []`: its user has been warned.
        if values.get("sigmas") is None:
            warnings.warn(
                f"skeleton {values['name']!r} gives no OKS sigmas; {DEFAULT_SIGMA} is used for every joint",
                stacklevel=2,
            )
        return cls(
            name=str(values["name"]),
            keypoint_names=names,
            edges=_pairs(values.get("edges") or (), names),
            flip_pairs=_pairs(flip_pairs, names),
            sigmas=tuple(map(float, sigmas)),
        )

    @classmethod
    def from_yaml(cls, path: str | Path) -> Skeleton:
        """Read a skeleton from a YAML file with the keys of :meth:`from_dict`."""
        values = read_yaml(path)
        if not isinstance(values, dict):
            raise ValueError(f"{path}: expected a mapping with name and keypoint_names, got {type(values).__name__}")
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def from_coco_category(cls, category: Mapping[str, Any]) -> Skeleton:
        """Build a skeleton from an entry of a COCO file's ``categories`` (its ``skeleton`` counts joints from 1).

        A category with the joint names of a built-in skeleton gives that built-in one, sigmas included.
        """
        names = tuple(str(n) for n in category.get("keypoints") or ())
        if not names:
            raise ValueError(f"COCO category {category.get('name')!r} has no keypoints")
        for skeleton in SKELETONS.values():
            if skeleton.keypoint_names == names:
                return skeleton
        edges = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
        name = re.sub(r"\W+", "_", str(category.get("name", "custom"))) + str(len(names))
        return cls.from_dict({"name": name, "keypoint_names": names, "edges": edges, "sigmas": category.get("sigmas")})


def _pairs(pairs: Any, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    def joint(value: Any) -> int:
        if isinstance(value, str):
            if value not in names:
                raise ValueError(f"unknown joint {value!r}; the joints are {', '.join(names)}")
            return names.index(value)
        if type(value) is not int:
            raise ValueError(f"joint {value!r} is neither a name nor an index")
        return value

    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise ValueError(f"{pairs!r} is no list of pairs of joints")
    return tuple((joint(a), joint(b)) for a, b in pairs)


# COCO's sigmas. Other data sets have none of their own (MPII is measured by PCKh, Human3.6M in millimetres), apart
# from CrowdPose, which adds head and neck; the rest are those of the nearest joint, for confidence and drawing.
_SIGMAS = {
    **{"nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062},
    **{"hip": 0.107, "knee": 0.087, "ankle": 0.089, "pelvis": 0.107, "spine": 0.107, "thorax": 0.079},
    **{"neck": 0.079, "upper_neck": 0.079, "neck_nose": 0.079, "head": 0.079, "head_top": 0.079},
}


def _built_in(name: str, names: str, edges: str) -> Skeleton:
    keypoint_names = tuple(names.split())
    bones = [tuple(int(i) for i in edge.split("-")) for edge in edges.split()]
    return Skeleton(
        name=name,
        keypoint_names=keypoint_names,
        edges=_pairs(bones, keypoint_names),
        flip_pairs=tuple(derive_flip_pairs(keypoint_names)),
        sigmas=tuple(_SIGMAS[n.removeprefix("left_").removeprefix("right_")] for n in keypoint_names),
    )


COCO17 = _built_in(
    "coco17",
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle",
    "15-13 13-11 16-14 14-12 11-12 5-11 6-12 5-6 5-7 6-8 7-9 8-10 1-2 0-1 0-2 1-3 2-4 3-5 4-6",
)
CROWDPOSE14 = _built_in(
    "crowdpose14",
    "left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_hip right_hip left_knee "
    "right_knee left_ankle right_ankle head neck",
    "12-13 13-0 13-1 0-2 1-3 2-4 3-5 0-6 1-7 6-7 6-8 7-9 8-10 9-11",
)
MPII16 = _built_in(
    "mpii16",
    "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax upper_neck head_top right_wrist "
    "right_elbow right_shoulder left_shoulder left_elbow left_wrist",
    "0-1 1-2 2-6 6-3 3-4 4-5 6-7 7-8 8-9 7-12 12-11 11-10 7-13 13-14 14-15",
)
H36M17 = _built_in(
    "h36m17",
    "hip right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck_nose head left_shoulder "
    "left_elbow left_wrist right_shoulder right_elbow right_wrist",
    "0-1 1-2 2-3 0-4 4-5 5-6 0-7 7-8 8-9 9-10 8-11 11-12 12-13 8-14 14-15 15-16",
)
H36M16 = _built_in(
    "h36m16",
    "hip right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax head left_shoulder left_elbow "
    "left_wrist right_shoulder right_elbow right_wrist",
    "0-1 1-2 2-3 0-4 4-5 5-6 0-7 7-8 8-9 8-10 10-11 11-12 8-13 13-14 14-15",
)

SKELETONS: dict[str, Skeleton] = {s.name: s for s in (COCO17, CROWDPOSE14, MPII16, H36M17, H36M16)}


def get_skeleton(name: str) -> Skeleton:
    """Return a built-in skeleton by name, or read one from a YAML file whose path is given.

    Raises:
        ValueError: If the name is neither built in nor a YAML file.
    """
    if name in SKELETONS:
        return SKELETONS[name]
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise ValueError(f"skeleton file {name!r} does not exist")
        return Skeleton.from_yaml(name)
    raise ValueError(f"unknown skeleton {name!r}; built in are {', '.join(SKELETONS)}, or give a YAML file")
