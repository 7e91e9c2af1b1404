"""The report on models that read photos: results.json, and a page with tables and pictures that needs nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pct.data.coco import find_category, iter_coco_images
from pct.data.detections import DetectedPersons, load_detections
from pct.data.keypoint_file import is_mpii_file
from pct.data.mpii_photos import MpiiPersons
from pct.data.photos import CocoPersons, PersonSource
from pct.evaluation.detected import read_all_labels
from pct.evaluation.photo_evaluate import DetectedBoxes, EvaluatedPoses, evaluate_photos
from pct.evaluation.photo_examples import make_examples, report_space
from pct.evaluation.photo_figures import draw_photo_figures
from pct.evaluation.photo_page import render_photo_page
from pct.evaluation.photo_predictions import PhotoModel, PredictionOptions, skeleton_of, space_of
from pct.evaluation.photo_results import PhotoEvaluation
from pct.evaluation.report_folder import ReportFolder
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

_FOLDER = ReportFolder("results.json")


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
    progress: Callable[[str, int, int], None] | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[PhotoEvaluation, Path]:
    """Evaluate models on a keypoint file with photos and write the report.

    Args:
        models: By the name that the report calls them.
        annotations_path: COCO-format keypoint file, or MPII's in the JSON layout.
        image_folder: Folder of its photos.
        out_dir: Folder of the report; made if it does not exist.
        boxes_path: Detected boxes as COCO results JSON, for AP without the annotated boxes.
        options: Flip test, samples, batches.
        limit: At most so many persons, the first ones; detected boxes on their photos only.
        force: Whether an earlier report there may be replaced.
        progress: Called with the name of a stage, how much of it was just done, and its length.
        report: Called with a sentence for what is skipped; by default a warning.

    Returns:
        The numbers, and the path of the page.

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
    source = _open_persons(annotations_path, image_folder, skeleton_of(first), say)
    boxes = None
    if boxes_path is not None:
        if isinstance(source, MpiiPersons):
            raise ValueError(
                f"{annotations_path} is MPII's, whose persons come with their boxes; leave out {boxes_path}"
            )
        boxes = _open_boxes(boxes_path, annotations_path, image_folder, _image_ids(source, limit), source.skeleton, say)
    evaluation, poses = evaluate_photos(
        models,
        source,
        options,
        limit=limit,
        boxes=boxes,
        head_size=source.head_size if isinstance(source, MpiiPersons) else None,
        data="/".join(Path(annotations_path).parts[-2:]),
        progress=progress,
        report=say,
    )
    notes = [f"Only the first {limit:,} persons of the file were evaluated."] if limit and limit < len(source) else []
    if skipped:
        notes.append(f"{len(skipped):,} persons, photos or boxes were skipped; the first: {skipped[0]}")
    evaluation = replace(evaluation, provenance=replace(evaluation.provenance, notes=notes))
    return evaluation, write_photo_report(evaluation, poses, source, space_of(first), out_dir, force)


def check_report_folder(out_dir: str | Path, force: bool = False) -> Path:
    """Check, before any work, that a report can be written to a folder.

    Raises:
        FileExistsError: If it holds a report and ``force`` is not set.
        OutputError: If it is a file.
    """
    return _FOLDER.check(out_dir, force)


def write_photo_report(
    evaluation: PhotoEvaluation,
    poses: EvaluatedPoses,
    source: PersonSource,
    space: PoseSpace,
    out_dir: str | Path,
    force: bool = False,
) -> Path:
    """Write ``results.json``, the pictures as PNG files under ``pictures``, and ``index.html`` with them built in.

    Args:
        evaluation: The numbers.
        poses: The poses behind them.
        source: The persons, whose photos are drawn on.
        space: Of the first model: what is cut out of the photos.
        out_dir: Folder, made if it does not exist.
        force: Whether an earlier report there may be replaced.

    Returns:
        The page's path. It is written last, so it is there only if the report is whole.

    Raises:
        FileExistsError: If the folder holds a report and ``force`` is not set.
        OutputError: If ``out_dir`` is a file.
    """
    folder = check_report_folder(out_dir, force)
    sigmas = torch.from_numpy(evaluation.skeleton.oks_sigmas)
    figures = draw_photo_figures(evaluation, make_examples(poses, source, report_space(space), sigmas))
    page = render_photo_page(evaluation, figures)
    return _FOLDER.write(folder, evaluation.to_dict(), figures, page, force)


def _open_persons(
    path: str | Path, image_folder: str | Path, skeleton: Skeleton, report: Callable[[str], None]
) -> CocoPersons | MpiiPersons:
    if is_mpii_file(path):
        return MpiiPersons(path, image_folder, report=report)
    return CocoPersons(path, image_folder, skeleton, report=report)


def _image_ids(source: CocoPersons, limit: int | None) -> set[int] | None:
    """Return the photos of the first persons; None stands for all photos of the file."""
    return None if limit is None else set(source.poses.image_ids[:limit].tolist())


def _open_boxes(
    path: str | Path,
    annotations_path: str | Path,
    image_folder: str | Path,
    image_ids: set[int] | None,
    skeleton: Skeleton,
    report: Callable[[str], None],
) -> DetectedBoxes:
    folder = Path(image_folder)
    photos = {i["id"] for i in iter_coco_images(annotations_path) if (folder / i["file_name"]).is_file()}
    if image_ids is not None:
        photos &= image_ids
    detections = load_detections(path, report=report)
    detections = detections.select(np.isin(detections.image_ids, list(photos)))
    if not len(detections):
        raise ValueError(f"{path}: no box on the {len(photos):,} photos of {annotations_path} in {folder}")
    labels = read_all_labels(annotations_path, find_category(annotations_path, skeleton), photos, report)
    return DetectedBoxes(DetectedPersons(detections, annotations_path, folder, skeleton, report=report), labels)
