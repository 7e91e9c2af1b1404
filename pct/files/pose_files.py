"""Pose files of any kind (COCO, MPII, npz, mocap, Parquet): one way in, as a stream of checked batches or one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import torch

from pct.files.coco import AREA_SHARE, find_category, read_coco, read_results
from pct.files.json_stream import is_json_object, iter_json
from pct.files.mpii import read_mpii
from pct.files.npz import check_file
from pct.files.pose_arrays import count_rows, read_npz, read_parquet
from pct.files.pose_checks import Fault, PoseBatch, PoseFileError, PoseQuery, RawPoses, check_all
from pct.poses import Poses
from pct.skeleton import MPII16, SKELETONS, Skeleton

POSE_SUFFIXES = (".json", ".npz", ".parquet")
# Every format that poses are read from, by what find_kind calls it.
_READERS: dict[str, Callable[[Path, PoseQuery], Iterator[RawPoses]]] = {
    "coco": read_coco,
    "results": read_results,
    "mpii": read_mpii,
    "npz": read_npz,
    "parquet": read_parquet,
}

Say = Callable[[str], None]


def check_pose_file(path: str | Path) -> Path:
    """Check that a file is there, is not empty, and has the suffix of a pose file.

    Raises:
        PoseFileError: If not.
    """
    path, suffix = Path(path), pose_suffix(path)
    if path.is_dir():
        raise PoseFileError(f"{path}: this is a folder; give a file ({', '.join(POSE_SUFFIXES)})")
    if suffix not in POSE_SUFFIXES:
        pickled = "; pickled files are refused" if suffix in (".pkl", ".pickle", ".pt", ".pth") else ""
        raise PoseFileError(f"{path}: suffix is {suffix!r}; poses are read from {', '.join(POSE_SUFFIXES)}{pickled}")
    return check_file(path, PoseFileError)


def pose_suffix(path: str | Path) -> str:
    """Return the suffix of a pose file in small letters, ``.json`` for ``.json.gz`` too."""
    return Path(str(path).lower().removesuffix(".gz")).suffix


def find_kind(path: str | Path) -> str:
    """Tell the format of a pose file: ``npz``, ``parquet``, or ``coco``, ``results`` or ``mpii``, all three JSON.

    A list of persons as MPII's are is ``mpii``, another list COCO ``results``, and an object ``coco``.

    Raises:
        PoseFileError: If it is no pose file.
        ValueError: If it is JSON that is damaged before its first entry.
    """
    path = check_pose_file(path)
    if pose_suffix(path) != ".json":
        return pose_suffix(path)[1:]
    if is_json_object(path):
        return "coco"
    first = next(iter_json(path), None)
    return "mpii" if isinstance(first, Mapping) and {"joints", "joints_vis"} & set(first) else "results"


def count_poses(path: str | Path) -> int | None:
    """Return the number of poses of an npz or Parquet file; None for JSON, which only reading to its end tells."""
    path = check_pose_file(path)
    return None if pose_suffix(path) == ".json" else count_rows(path)


def file_skeleton(path: str | Path, category: str | int | None = None) -> Skeleton:
    """Return the joints that a file has by its own word: those of a COCO file's categories, or MPII's.

    Args:
        path: The file.
        category: Name or id of the only category of a COCO file that is read.

    Raises:
        PoseFileError: If the file does not name its joints, or its categories have different ones.
    """
    kind = find_kind(path)
    if kind not in ("coco", "mpii"):
        known = ", ".join(SKELETONS)
        raise PoseFileError(f"{path}: the file does not name its joints; say whose they are (skeleton): {known}")
    return MPII16 if kind == "mpii" else find_category(path, None, category).skeleton


def read_poses(
    path: str | Path,
    skeleton: Skeleton,
    batch_size: int = 4096,
    *,
    category: str | int | None = None,
    need_names: bool = True,
    root: int | None = None,
    all_of: Collection[int] | None = None,
) -> Iterator[PoseBatch]:
    """Yield the poses of a file in order, at most ``batch_size`` at a time, whatever the length of the file.

    - ``.json``, ``.json.gz``: COCO keypoint annotations, of all ``categories`` with the joints of ``skeleton``; COCO
      results, a list of ``keypoints`` in its order; the MPII JSON layout.
    - ``.npz``: arrays ``keypoints`` (N, K, 2), and if given ``visible`` (N, K), ``bbox`` (N, 4), ``area`` (N,),
      ``image_ids`` (N,), ``annotation_ids`` (N,), ``keypoint_names`` (K,).
    - ``.parquet``: columns ``keypoints`` (2 K numbers or K pairs a row), and if given ``visible``, ``bbox``, ``area``,
      ``image_id``, ``annotation_id``.

    3D poses are in ``.npz`` files: ``keypoints`` (N, K, 3) in millimetres, x right, y down, z away, the origin
    anywhere, without boxes and areas; or the layout of :func:`pct.files.motion.mocap.load_mocap`, which is read as a
    whole and brought into those axes: image ids are the clips' rows, annotation ids the frames' rows.

    Without boxes they are made from the known joints; without ids the row number is taken; without ``visible``, and in
    COCO results, joints of 2D poses that are NaN or at exactly (0, 0) are unknown. An area of 0 is an unknown one.
    Poses with the id of an earlier one are read and counted.

    Args:
        path: The file.
        skeleton: Whose joints it must have; :func:`file_skeleton` gives its own.
        batch_size: Poses at a time.
        category: Name or id of the only category of a COCO file that is read.
        need_names: Whether a COCO file that names no joints is refused.
        root: For 3D poses, the joint at the origin of the model's poses, which every pose needs; None for 2D poses.
        all_of: Images of a COCO file whose persons alone are read, but crowds and those without a labelled joint too.

    Raises:
        PoseFileError: If the file cannot be used as a whole, for example since its joints are not the skeleton's.
        ValueError: If the file is missing, malformed, truncated or pickled.
    """
    path, kind, suffix = Path(path), find_kind(path), pose_suffix(path)
    if root is not None and kind != "npz":
        wanted = f"give a .npz with keypoints (N, {skeleton.num_keypoints}, 3) in millimetres"
        raise PoseFileError(f"{path}: a {suffix} file holds 2D poses, and the model's are 3D; {wanted}")
    if category is not None and kind not in ("coco", "results"):
        what = "3D poses" if root is not None else f"{'MPII' if kind == 'mpii' else suffix} files"
        raise PoseFileError(f"{path}: {what} have no categories; leave {category!r} out")
    return check_all(path, _READERS[kind](path, PoseQuery(skeleton, batch_size, category, need_names, root, all_of)))


@dataclass(kw_only=True)
class PoseCounts:
    """What became of the poses of a file, batch by batch.

    Attributes:
        poses: Good poses.
        skipped: Bad poses by what was wrong with them.
        left_out: Crowds and annotations of other categories, by what they are.
        odd: What should be known of good poses, by what it is.
        notes: What looks odd about the poses as a whole.
        first_fault: What is wrong with the first bad pose.
    """

    poses: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    first_fault: Fault | None = None

    def add(self, batch: PoseBatch) -> PoseCounts:
        """Count a batch, too, and return these counts."""
        self.poses += len(batch.poses)
        self.skipped.update(fault.kind for fault in batch.faults)
        self.left_out.update(batch.left_out)
        self.odd += batch.odd
        self.notes.extend(batch.notes)
        self.first_fault = self.first_fault or next(iter(batch.faults), None)
        return self

    @property
    def entries(self) -> int:
        """All entries of the file that were read."""
        return self.poses + self.skipped.total() + self.left_out.total()

    def say_odd(self, left_out: bool = False) -> list[str]:
        """Say how many poses are odd, and, if asked for, how many entries are left out."""
        odd = [f"{count:,} {what}" for what, count in self.odd.items()]
        return odd + [f"left out {count:,} ({kind})" for kind, count in self.left_out.items() if left_out]

    def explain_nothing(self) -> str:
        """Say why a file has no good pose: the first fault of the bad ones, or else what was left out."""
        if self.first_fault is not None:
            return f"none of {self.skipped.total():,} poses is good; the first: {self.first_fault}"
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.left_out.items())
        return "no person with a labelled joint" + (f", only crowds and other categories: {kinds}" if kinds else "")


def join_batches(path: str | Path, batches: Iterable[PoseBatch], report: Say | None = None) -> PoseBatch:
    """Put the batches of a file, one at least, together, with the faults of all.

    Args:
        path: What messages call the file.
        batches: Its batches.
        report: Called with a sentence for each bad pose, which is then skipped; by default it is an error.

    Raises:
        PoseFileError: If a pose is bad and ``report`` is None.
    """
    found, counts = list[PoseBatch](), PoseCounts()
    for batch in batches:
        for fault in batch.faults:
            if report is None:
                raise PoseFileError(f"{path}: {fault}")
            report(f"{path}: {fault}")
        found.append(batch)
        counts.add(batch)
    faults, entries = (tuple(chain(*(getattr(batch, name) for batch in found))) for name in ("faults", "entries"))
    return PoseBatch(Poses.concatenate([batch.poses for batch in found]), faults, counts.left_out, counts.odd, entries)


def load_keypoint_file(
    path: str | Path,
    skeleton: Skeleton | None = None,
    report: Say | None = None,
    category: str | int | None = None,
    note: Say | None = None,
    need_names: bool = False,
) -> Poses:
    """Read the labelled persons of a file of :func:`read_poses` at once, for training and evaluation.

    Where a pose has no area, 0.52 of its box area is taken (the median over COCO's own annotations).

    Args:
        path: The file.
        skeleton: Joints that the file must have; by default its own.
        report: Called with a sentence for each bad pose, which is then skipped; by default it is an error.
        category: Name or id of the only category of a COCO file that is read.
        note: Called with what should be known of the file: what was left out, which joints count as unknown.
        need_names: Whether a COCO file that names no joints is refused: ``skeleton`` is only what is wanted.

    Raises:
        ValueError: If the file is broken, has other joints or no good pose, or are COCO results: no labels.
    """
    if find_kind(path) == "results":
        wanted = "an annotation file in COCO format, with `categories` and `annotations`, or MPII's JSON layout"
        raise PoseFileError(f"{path}: these are COCO results, predictions without labels; expected {wanted}")
    skeleton = skeleton or file_skeleton(path, category)
    batches = read_poses(path, skeleton, category=category, need_names=need_names)
    # Annotations with their outlines take far more memory than their poses.
    whole = join_batches(path, (replace(batch, entries=()) for batch in batches), report)
    counts = PoseCounts().add(whole)
    if note is not None:
        for sentence in counts.say_odd(left_out=True):
            note(f"{path}: {sentence}")
    if not len(whole.poses):
        raise PoseFileError(f"{path}: {counts.explain_nothing()}")
    return with_areas(whole.poses)


def with_areas(table: Poses) -> Poses:
    """Return the poses with 0.52 of the box area where the area is not known."""
    box = table.bbox.double()
    return replace(table, area=torch.where(table.area.isnan(), AREA_SHARE * box[:, 2] * box[:, 3], table.area).float())
