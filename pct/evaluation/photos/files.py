"""From an annotation file with photos to the report on models that read them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct.evaluation.photos.evaluate import DetectedBoxes, PhotoEvaluation, evaluate_photos
from pct.evaluation.photos.predictions import PhotoModel, PredictionOptions
from pct.evaluation.photos.report import photo_report
from pct.evaluation.report import check_report_folder, write_report
from pct.files.json_stream import is_json_object
from pct.files.photo_folder import PhotoFolder
from pct.files.pose_files import find_kind, join_batches, read_poses, with_areas
from pct.photos.detection.boxes import DetectedPersons, load_photo_boxes
from pct.photos.person_views import Persons3D
from pct.photos.persons import CocoPersons, MpiiPersons
from pct.poses import Poses
from pct.skeleton import Skeleton

Say = Callable[[str], None]


def run_photo_evaluation(
    models: Mapping[str, PhotoModel],
    annotations_path: str | Path,
    image_folder: str | Path,
    out_dir: str | Path,
    *,
    boxes_path: str | Path | None = None,
    options: PredictionOptions | None = None,
    limit: int | None = None,
    force: bool = False,
    progress: bool = False,
    report: Say | None = None,
) -> tuple[PhotoEvaluation, Path]:
    """Evaluate models on a keypoint file with photos and write the report.

    Args:
        models: By the name that the report calls them, as :func:`evaluate_photos` takes them.
        annotations_path: COCO-format keypoint file, or MPII's in the JSON layout; for 3D poses COCO's with
            ``keypoints3d`` and ``camera``, as :mod:`pct.people.write` writes them.
        image_folder: Folder of its photos.
        out_dir: Folder of the report; made if it does not exist.
        boxes_path: Detected boxes as COCO results JSON, for AP without the annotated boxes; for 2D poses only.
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones; detected boxes on their photos only.
        force: Whether an earlier report there may be replaced.
        progress: Whether progress bars are shown.
        report: Called with a sentence for what is skipped; by default a warning.

    Returns:
        What was measured, and the path of the page.

    Raises:
        FileExistsError: If ``out_dir`` holds a report and ``force`` is not set.
        ValueError: If persons and models do not fit together, or a file is broken.
    """
    check_report_folder(out_dir, force)
    skipped: list[str] = []

    def say(sentence: str) -> None:
        skipped.append(sentence)
        (report or warnings.warn)(sentence)

    first = next(iter(models.values()))
    source = _open_persons(first, annotations_path, image_folder, say)
    boxes = None
    if boxes_path is not None:
        if not isinstance(source, CocoPersons):
            raise ValueError(f"detected boxes are for 2D poses in COCO-format files only; leave out {boxes_path}")
        # Without a limit, of all photos of the file, whether somebody is labelled on them or not.
        photos = None if limit is None else set(source.poses.image_ids[:limit].tolist())
        boxes = _open_boxes(boxes_path, annotations_path, image_folder, photos, source.skeleton, say)
    found = evaluate_photos(
        models,
        source,
        options,
        limit=limit,
        boxes=boxes,
        data="/".join(Path(annotations_path).parts[-2:]),
        progress=progress,
        report=say,
    )
    notes: list[str] = found.numbers["provenance"]["notes"]
    if limit and limit < len(source):
        notes.append(f"Only the first {limit:,} persons of the file were evaluated.")
    if skipped:
        notes.append(f"{len(skipped):,} persons, photos or boxes were skipped; the first: {skipped[0]}")
    return found, write_report(photo_report(found, source), out_dir, force)


def _open_persons(
    model: PhotoModel, path: str | Path, image_folder: str | Path, say: Say
) -> CocoPersons | MpiiPersons | Persons3D:
    if model.space.kind == "root3d":
        return Persons3D(CocoPersons(path, image_folder, report=say, need_3d=True), model.skeleton)
    if find_kind(path) == "mpii":
        return MpiiPersons(path, image_folder, report=say)
    return CocoPersons(path, image_folder, model.skeleton, report=say)


def _open_boxes(
    path: str | Path,
    annotations_path: str | Path,
    image_folder: str | Path,
    image_ids: set[int] | None,
    skeleton: Skeleton,
    say: Say,
) -> DetectedBoxes:
    folder = Path(image_folder)
    entries = PhotoFolder(annotations_path, folder)
    wanted = entries.image_ids if image_ids is None else entries.image_ids & image_ids
    photos = entries.present() & wanted
    boxes = load_photo_boxes(path, report=say)
    if is_json_object(path):
        raise ValueError(f"{path}: an annotation file has true boxes; give a detector's, a COCO results list")
    boxes = boxes.select(np.isin(boxes.image_ids, list(photos)))
    if not len(boxes):
        raise ValueError(f"{path}: no box on the {len(photos):,} photos of {annotations_path} in {folder}")
    if len(photos) < len(wanted):
        lost = f"{len(wanted) - len(photos):,} of {len(wanted):,} images have no photo in {folder}"
        say(f"{annotations_path}: {lost}; they are not counted for detected boxes")
    labels, crowd = read_all_labels(annotations_path, skeleton, photos, say)
    return DetectedBoxes(DetectedPersons(boxes, annotations_path, folder, skeleton, report=say), labels, crowd)


def read_all_labels(
    path: str | Path, skeleton: Skeleton, image_ids: Collection[int], report: Say
) -> tuple[Poses, Tensor]:
    """Read every person of some images, crowds and persons without a labelled joint too, and which are crowds (N,).

    COCO's evaluator needs these to know which predictions count neither way.

    Args:
        path: COCO-format keypoint file.
        skeleton: Joints of the file.
        image_ids: Of the images.
        report: Called with a sentence for each bad annotation, which is then skipped.

    Raises:
        ValueError: If no person is left.
    """
    found = join_batches(path, read_poses(path, skeleton, need_names=False, all_of=set(image_ids)), report)
    if not len(found.poses):
        raise ValueError(f"{path}: no person on the {len(image_ids)} images, so there is nothing to evaluate")
    return with_areas(found.poses), torch.tensor([bool(annotation.get("iscrowd")) for annotation in found.entries])
