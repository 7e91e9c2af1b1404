"""Features of a frozen backbone, stored once for several augmented crops of each person, so that heads train fast."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from pct.files.output_folder import finish_outputs, outputs_together
from pct.photos.backbone import Backbone, fold_batch_norms
from pct.training.batches import EpochOrder
from pct.training.photos.batches import PersonCrops, Reports
from pct.training.photos.crops import PhotoBatch

_FEATURES, _LABELS, _ABOUT = "features.npy", "labels.npz", "features.json"
_OUTPUTS = (_FEATURES, _LABELS, _ABOUT)
_NAMES = ("keypoints", "visibility", "bbox", "image_ids", "annotation_ids")
_COPIES = "copies"
_BATCH = 16


class StoredFeatures:
    """The folder of stored features: a few crops of each of N persons, person by person.

    Args:
        folder: That :func:`store_features` wrote.
        about: What the features must have been made from.

    Attributes:
        copies: Crops of each person (N,), int64.

    Raises:
        ValueError: If the folder is none, or its features were made from something else, which is named.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        try:
            stored = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            self.features = np.load(folder / _FEATURES, mmap_mode="r", allow_pickle=False)
            with np.load(folder / _LABELS, allow_pickle=False) as file:
                labels = dict(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is no folder of stored features: {error}") from error
        missing = [name for name in (*_NAMES, _COPIES) if name not in labels]
        if missing:
            raise ValueError(
                f"{folder / _LABELS} lacks {', '.join(missing)}: a former version stored it; remove the folder or give "
                "another one, which is then filled"
            )
        self.labels = {name: torch.from_numpy(labels[name]) for name in _NAMES}
        self.copies = labels[_COPIES]
        for name, value in json.loads(json.dumps(about)).items():
            if _given(stored.get(name)) != _given(value):
                raise ValueError(
                    f"{folder}: its features were made with {name} {stored.get(name)}, this run has {value}; give "
                    "another folder, which is then filled"
                )
        self.image_size = about["image_size"]

    def rows(self, rows: np.ndarray) -> PhotoBatch:
        """Return the crops of some rows (B,), with features in place of their pixels."""
        rows = np.sort(rows)  # a file is read fastest from its beginning to its end
        labels = {name: values[torch.from_numpy(rows)] for name, values in self.labels.items()}
        # Black, without memory of its own: only its size is asked for.
        pixels = torch.zeros(1, dtype=torch.uint8).expand(len(rows), 3, *self.image_size)
        return PhotoBatch(pixels=pixels, features=torch.from_numpy(self.features[rows]).float(), **labels)


def _given(value: Any) -> Any:
    # Former versions have further settings, which are empty where nobody gave them.
    return {k: v for k, v in value.items() if v not in ("", [])} if isinstance(value, dict) else value


class FeatureBatches:
    """Batches of stored features, drawn anew every epoch: a pure function of (seed, step).

    Args:
        stored: The features.
        batch_size: Persons a step.
        seed: Of order and choice of copies.
        weights: Probability of each person (N,); None takes each once an epoch.
    """

    def __init__(self, stored: StoredFeatures, batch_size: int, seed: int, weights: np.ndarray | None = None) -> None:
        self.stored, self.batch_size, self.seed = stored, batch_size, seed
        self._order = EpochOrder(len(stored.copies), batch_size, seed, weights)
        self._first = np.cumsum(stored.copies) - stored.copies
        self.steps_per_epoch = self._order.steps_per_epoch

    def __getitem__(self, step: int) -> PhotoBatch:
        """Return the batch of ``step``."""
        persons = self._order[step]
        copies = np.random.default_rng((self.seed, step)).integers(self.stored.copies[persons])
        return self.stored.rows(self._first[persons] + copies)


def store_features(
    folder: Path,
    backbone: Backbone,
    crops: PersonCrops,
    about: Mapping[str, Any],
    report: Callable[[str], None],
    weights: np.ndarray | None = None,
) -> StoredFeatures:
    """Return the features in a folder, which is filled first if it has none; they appear whole or not at all.

    Args:
        folder: Where.
        backbone: Frozen.
        crops: The persons, with augmentation.
        about: What the features depend on, with ``copies`` (crops a person, the mean) and ``image_size``.
        report: Told how far it is, and once of each photo that cannot be read; another person then takes the place.
        weights: Probability of each person (N,): one that is drawn more often has more crops. None: all alike.

    Raises:
        ValueError: As :class:`StoredFeatures`.
        PhotoError: If 20 persons in a row have photos that cannot be read.
        OutputError: If the disk is full.
    """
    finish_outputs(folder, _OUTPUTS)
    if folder.is_file() or any((folder / name).exists() for name in _OUTPUTS):
        return StoredFeatures(folder, about)
    # Another process may store its own meanwhile: they are checked as those that were there before are.
    with suppress(FileExistsError), outputs_together(folder, _OUTPUTS) as half:
        persons, mean = len(crops.source), int(about["copies"])
        # At least one; a person that is drawn more often has more of them.
        spread = np.full(persons, mean) if weights is None else np.maximum(1, np.rint(weights * persons * mean))
        _fill(half, backbone, crops, spread.astype(int), report)
        (half / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return StoredFeatures(folder, about)


@torch.inference_mode()
def _fill(
    folder: Path, backbone: Backbone, crops: PersonCrops, copies: np.ndarray, report: Callable[[str], None]
) -> None:
    device, numbers = next(backbone.parameters()).device, range(len(copies))
    places = [(person, copy, person) for person in numbers for copy in range(copies[person])]
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(places), backbone.channels, *backbone.grid)}
    # Made whole at the first batch: tensors kept from every batch would leave holes all over the heap.
    labels: dict[str, np.ndarray] = {}
    reports = Reports(report, "other persons take the place of its own")
    look = fold_batch_norms(backbone.eval())
    # A map of the file would be killed by a full disk, without an error.
    with (folder / _FEATURES).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(places), _BATCH):
            rows = slice(first, first + _BATCH)
            batch = reports.unpack(crops[places[rows]]).to(device)
            file.write(look(batch.images).cpu().half().numpy().tobytes())
            for name in _NAMES:
                values = getattr(batch, name).cpu().numpy()
                labels.setdefault(name, np.zeros((len(places), *values.shape[1:]), values.dtype))[rows] = values
            if first // _BATCH % 50 == 0:
                report(f"features of {first:,} of {len(places):,} crops are stored")
    np.savez(folder / _LABELS, **cast(dict[str, Any], {**labels, _COPIES: copies}))
