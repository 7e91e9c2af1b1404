"""EncodePhotos and EncodePoses: batches of photos or poses to rows of tokens, whatever brings the batches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pct.bulk.parts import make_rows, write_part
from pct.bulk.photo_rows import photo_bytes
from pct.files.photo import decode_photo
from pct.photos.crop import fit_bbox_to_aspect
from pct.photos.detection.detector import DEFAULT_DETECTOR, load_detector
from pct.photos.estimator import DEFAULT_MODEL, PoseEstimator
from pct.photos.results.poses import PersonPoses
from pct.photos.results.sources import Frame, check_boxes
from pct.tokenizer import PoseTokenizer

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("id", "person", "place", "tokens", "score", "error")


class EncodePhotos:
    """Photos to the tokens of the persons on them, for ``map_batches`` of Ray Data; it needs no Ray itself.

    A batch has ``id`` and the photo's encoded ``bytes``, or ``file``, ``offset`` and ``size`` as
    :func:`pct.bulk.photo_rows.find_photo_rows` gives them; and ``boxes``, lists of x, y, width, height, where no
    detector is to look. A broken photo becomes a row with an ``error``; the others are done.

    Args:
        model: A classifier: folder, shipped model or hf:user/model.
        detector: Of :func:`pct.photos.detection.detector.load_detector`.
        out: Folder where each batch is written as a part (:mod:`pct.bulk.parts`) too.
        device: Of the model and the detector, such as ``cuda``.
        threads: Of the CPU; torch's choice by default.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        detector: str = DEFAULT_DETECTOR,
        out: str | Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        found = load_detector(detector, device=device)
        self.estimator, self.out = PoseEstimator.from_pretrained(model, device, detector=found), out
        self.place = self.estimator.space.reference_name
        self.fingerprint = self.estimator.model.tokenizer.fingerprint()

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Return the rows (:mod:`pct.bulk.parts`) of a batch's photos, in their order."""
        rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        photos, boxes, errors = {}, [], {}
        for number in range(len(batch["id"])):
            try:
                frame, on_it = self._read(batch, number)
            except ValueError as error:
                errors[number] = str(error)
            else:
                photos[number] = frame.image
                boxes.append(on_it)
        results = self.estimator(list(photos.values()), boxes)
        found = dict(zip(photos, (result.persons for result in results), strict=True))
        for number, id_ in enumerate(batch["id"]):
            self._add(rows, _plain(id_), found.get(number), errors.get(number))
        return _finish(rows, self.place, self.fingerprint, self.out)

    def _read(self, batch: Mapping[str, Any], number: int) -> tuple[Frame, np.ndarray]:
        """Return a photo and the boxes (N, 4) of its persons."""
        name = str(batch["id"][number])
        frame = Frame(decode_photo(photo_bytes(batch, number), name), name)
        if "boxes" in batch:
            given = [np.asarray(box, np.float64) for box in batch["boxes"][number]]
            return frame, check_boxes(given, frame)[0]
        faults: list[ValueError] = []
        boxes, good = check_boxes(self.estimator.detector.detect(frame.image)[0], frame, faults.append)
        return frame, boxes[good]

    def _add(self, rows: dict[str, list[Any]], id_: Any, poses: PersonPoses | None, error: str | None) -> None:
        if poses is None or len(poses) == 0:
            _append(rows, id_, -1, None, None, None, error)
            return
        height, width = self.estimator.image_size
        places = np.zeros((len(poses), 3)) if poses.is_3d else fit_bbox_to_aspect(poses.bbox, width / height)
        for person in range(len(poses)):
            score = float(poses.scores[person].mean())
            _append(rows, id_, person, places[person].tolist(), poses.indices[person].tolist(), score, None)


class EncodePoses:
    """Poses to tokens, for ``map_batches`` of Ray Data; it needs no Ray itself.

    A batch has ``id`` and the columns of :meth:`pct.PoseTokenizer.encode_columns`. A bad pose becomes a row with an
    ``error``; the others are done.

    Args:
        model: A tokenizer: folder, shipped model or hf:user/model.
        out: Folder where each batch is written as a part (:mod:`pct.bulk.parts`) too.
        device: Of the model, such as ``cuda``.
        threads: Of the CPU; torch's choice by default.
    """

    def __init__(
        self,
        model: str | Path = "coco17",
        out: str | Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.tokenizer, self.out = PoseTokenizer.from_pretrained(model, device), out
        self.place = self.tokenizer.space.reference_name
        self.fingerprint = self.tokenizer.fingerprint()

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Return the rows (:mod:`pct.bulk.parts`) of a batch's poses, in their order."""
        rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        wanted = {name: batch[name] for name in ("keypoints", "visible", self.place) if name in batch}
        try:
            self._encode(rows, batch["id"], wanted)
        except ValueError:
            # One bad pose or more: find out which.
            for number, id_ in enumerate(batch["id"]):
                try:
                    self._encode(rows, [id_], {name: column[number : number + 1] for name, column in wanted.items()})
                except ValueError as error:
                    _append(rows, _plain(id_), -1, None, None, None, str(error))
        return _finish(rows, self.place, self.fingerprint, self.out)

    def _encode(self, rows: dict[str, list[Any]], ids: Any, columns: Mapping[str, Any]) -> None:
        made = {**columns, **self.tokenizer.encode_columns(columns)}
        places = np.array([np.asarray(place) for place in made[self.place]]).tolist()
        for id_, place, tokens in zip(ids, places, made["tokens"].tolist(), strict=True):
            _append(rows, _plain(id_), 0, place, tokens, None, None)


def _append(rows: dict[str, list[Any]], *values: Any) -> None:
    for name, value in zip(_COLUMNS, values, strict=True):
        rows[name].append(value)


def _plain(id_: Any) -> Any:
    """Return an id of numpy or Arrow as Python's own integer or text."""
    return id_ if isinstance(id_, str) else int(id_)


def _finish(rows: dict[str, list[Any]], place: str, fingerprint: str, out: str | Path | None) -> pa.Table:
    columns = {**rows, place: rows["place"], "fingerprint": [fingerprint] * len(rows["id"])}
    table = make_rows(columns, place)
    if out is not None and len(table):
        write_part(table, out)
    return table
