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
from pct.photos.classifier import PoseClassifier
from pct.photos.detection.detector import DEFAULT_DETECTOR, load_detector
from pct.photos.estimator import DEFAULT_MODEL, PoseEstimator
from pct.photos.results.result import PoseResult
from pct.photos.results.sources import Frame, check_boxes
from pct.tokenizer import PoseTokenizer

if TYPE_CHECKING:
    import pyarrow as pa

# Id, number of the person, place, tokens, score, error.
Row = tuple[Any, ...]


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
        classifier = PoseClassifier.from_pretrained(model, device)
        self.estimator = PoseEstimator(classifier, detector=load_detector(detector, device=device))
        self.place, self.fingerprint = classifier.space.reference_name, classifier.tokenizer.fingerprint()
        self.out = out

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Return the rows (:mod:`pct.bulk.parts`) of a batch's photos, in their order."""
        photos, found, errors = {}, [], {}
        for number in range(len(batch["id"])):
            try:
                frame, *boxes = self._read(batch, number)
            except ValueError as error:
                errors[number] = str(error)
            else:
                photos[number] = frame.image
                found.append(boxes)
        coming = iter(found)
        results = self.estimator(list(photos.values()), lambda _: next(coming))
        by_number = dict(zip(photos, results, strict=True))
        rows: list[Row] = []
        for number, id_ in enumerate(batch["id"]):
            rows += self._rows(_plain(id_), by_number.get(number), errors.get(number))
        return _finish(rows, self)

    def _read(self, batch: Mapping[str, Any], number: int) -> tuple[Frame, np.ndarray, np.ndarray]:
        """Return a photo, the boxes (N, 4) of its persons, and their scores (N,)."""
        name = str(batch["id"][number])
        frame = Frame(decode_photo(photo_bytes(batch, number), name), name)
        if "boxes" in batch:
            boxes, good = check_boxes([np.asarray(box, np.float64) for box in batch["boxes"][number]], frame)
            return frame, boxes, good.astype(np.float32)
        found, scores = self.estimator.detector.detect(frame.image)
        faults: list[ValueError] = []
        boxes, good = check_boxes(found, frame, faults.append)
        return frame, boxes[good], scores[good]

    def _rows(self, id_: Any, result: PoseResult | None, error: str | None) -> list[Row]:
        if result is None or len(result) == 0:
            return [(id_, -1, None, None, None, error)]
        table = self.estimator.token_table(result.persons)
        places = getattr(table, self.place).tolist()
        persons = zip(places, table.indices.tolist(), result.scores.tolist(), strict=True)
        return [(id_, person, *values, None) for person, values in enumerate(persons)]


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
        wanted = {name: batch[name] for name in ("keypoints", "visible", self.place) if name in batch}
        try:
            rows = self._encode(batch["id"], wanted)
        except ValueError:
            # One bad pose or more: find out which.
            rows = []
            for number, id_ in enumerate(batch["id"]):
                try:
                    rows += self._encode([id_], {name: column[number : number + 1] for name, column in wanted.items()})
                except ValueError as error:
                    rows.append((_plain(id_), -1, None, None, None, str(error)))
        return _finish(rows, self)

    def _encode(self, ids: Any, columns: Mapping[str, Any]) -> list[Row]:
        made = {**columns, **self.tokenizer.encode_columns(columns)}
        places = np.array([np.asarray(place) for place in made[self.place]]).tolist()
        poses = zip(ids, places, made["tokens"].tolist(), strict=True)
        return [(_plain(id_), 0, place, tokens, None, None) for id_, place, tokens in poses]


def _plain(id_: Any) -> Any:
    """Return an id of numpy or Arrow as Python's own integer or text."""
    return id_ if isinstance(id_, str) else int(id_)


def _finish(rows: list[Row], encoder: EncodePhotos | EncodePoses) -> pa.Table:
    names = ("id", "person", encoder.place, "tokens", "score", "error")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    table = make_rows({**columns, "fingerprint": [encoder.fingerprint] * len(rows)}, encoder.place)
    if encoder.out is not None and len(table):
        write_part(table, encoder.out)
    return table
