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

Row = dict[str, Any]


class _Encoder:
    """Batches to rows of tokens, written as parts where a folder is given."""

    def __init__(self, tokenizer: PoseTokenizer, out: str | Path | None, threads: int | None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.tokenizer, self.out = tokenizer, out
        self.place, self.fingerprint = tokenizer.space.reference_name, tokenizer.fingerprint()

    def _finish(self, rows: list[Row]) -> pa.Table:
        # Python's own integers or texts in place of those of numpy or Arrow.
        own = [{**row, "id": row["id"] if isinstance(row["id"], str) else int(row["id"])} for row in rows]
        table = make_rows([{**row, "fingerprint": self.fingerprint} for row in own], self.place)
        if self.out is not None and len(table):
            write_part(table, self.out)
        return table


class EncodePhotos(_Encoder):
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
        classifier = PoseClassifier.from_pretrained(model, device)
        self.estimator = PoseEstimator(classifier, detector=load_detector(detector, device=device))
        super().__init__(classifier.tokenizer, out, threads)

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Return the rows (:mod:`pct.bulk.parts`) of a batch's photos, in their order."""
        found: dict[int, tuple[Frame, np.ndarray, np.ndarray]] = {}
        errors: dict[int, str] = {}
        for number in range(len(batch["id"])):
            try:
                found[number] = self._read(batch, number)
            except ValueError as error:
                errors[number] = str(error)
        boxes = iter([boxes for _, *boxes in found.values()])
        results = iter(self.estimator([frame.image for frame, *_ in found.values()], lambda _: next(boxes)))
        rows: list[Row] = []
        for number, id_ in enumerate(batch["id"]):
            persons = [] if number in errors else self._persons(next(results))
            rows += [{"id": id_, "person": person, **values} for person, values in enumerate(persons)]
            if not persons:
                rows.append({"id": id_, "person": -1, "error": errors.get(number)})
        return self._finish(rows)

    def _read(self, batch: Mapping[str, Any], number: int) -> tuple[Frame, np.ndarray, np.ndarray]:
        """Return a photo, the boxes (N, 4) of its persons, and their scores (N,)."""
        name = str(batch["id"][number])
        frame = Frame(decode_photo(photo_bytes(batch, number), name), name)
        if "boxes" in batch:
            boxes, good = check_boxes([np.asarray(box, np.float64) for box in batch["boxes"][number]], frame)
            return frame, boxes, good.astype(np.float32)
        found, scores = self.estimator.detector.detect(frame.image)
        boxes, good = check_boxes(found, frame, lambda _fault: None)
        return frame, boxes[good], scores[good]

    def _persons(self, result: PoseResult) -> list[Row]:
        table = self.estimator.token_table(result.persons)
        columns = {self.place: table.reference, "tokens": table.indices, "score": result.scores}
        values = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in values]


class EncodePoses(_Encoder):
    """Poses to tokens, for ``map_batches`` of Ray Data; it needs no Ray itself.

    A batch has ``id`` and the columns of :meth:`pct.PoseTokenizer.encode_columns`. A bad pose becomes a row with an
    ``error``; the others are done.

    Args:
        model: A tokenizer: folder, shipped model or hf:user/model.
        out: As for :class:`EncodePhotos`.
        device: Of the model.
        threads: As for :class:`EncodePhotos`.
    """

    def __init__(
        self,
        model: str | Path = "coco17",
        out: str | Path | None = None,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        super().__init__(PoseTokenizer.from_pretrained(model, device), out, threads)

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
                    rows.append({"id": id_, "person": -1, "error": str(error)})
        return self._finish(rows)

    def _encode(self, ids: Any, columns: Mapping[str, Any]) -> list[Row]:
        made = {**columns, **self.tokenizer.encode_columns(columns)}
        places = np.array([np.asarray(place) for place in made[self.place]]).tolist()
        values = zip(ids, places, made["tokens"].tolist(), strict=True)
        return [{"id": id_, "person": 0, self.place: place, "tokens": tokens} for id_, place, tokens in values]
