"""Features of a frozen backbone, stored once for several augmented crops of each person, so that heads train fast."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from pct.files.photo import PhotoError
from pct.photos.backbone import Backbone
from pct.photos.crop import PersonCrop, PhotoBatch
from pct.training.batches import EpochOrder
from pct.training.photos.batches import PersonCrops

_FEATURES, _LABELS, _ABOUT = "features.npy", "labels.npz", "features.json"
_NAMES = ("keypoints", "visibility", "bbox", "area", "affine", "image_ids", "annotation_ids")
_BATCH = 16


class StoredFeatures:
    """The folder of stored features: C copies of N persons, copy by copy.

    Args:
        folder: That :func:`store_features` wrote.
        about: What the features must have been made from.

    Raises:
        ValueError: If the folder is none, or its features were made from something else, which is named.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        try:
            stored = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            self.features = np.load(folder / _FEATURES, mmap_mode="r", allow_pickle=False)
            with np.load(folder / _LABELS, allow_pickle=False) as labels:
                self.labels = {name: torch.from_numpy(labels[name]) for name in _NAMES}
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"{folder} is no folder of stored features: {error}") from error
        for name, value in json.loads(json.dumps(about)).items():
            if stored.get(name) != value:
                raise ValueError(
                    f"{folder}: its features were made with {name} {stored.get(name)}, this run has {value}; give "
                    "another folder, which is then filled"
                )
        self.copies, self.image_size = int(about["copies"]), about["image_size"]
        self.num_persons = len(self.features) // self.copies

    def rows(self, rows: np.ndarray) -> PhotoBatch:
        """Return the crops of some rows (B,), with features in place of their pixels."""
        order = np.argsort(rows)  # a file is read fastest from its beginning to its end
        sorted_rows = rows[order]
        features = torch.from_numpy(self.features[sorted_rows]).float()
        labels = {name: values[torch.from_numpy(sorted_rows)] for name, values in self.labels.items()}
        # Black, without memory of its own: only its size is asked for.
        pixels = torch.zeros(1, dtype=torch.uint8).expand(len(rows), 3, *self.image_size)
        return PhotoBatch(pixels=pixels, features=features, **labels)


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
        self._order = EpochOrder(stored.num_persons, batch_size, seed, weights)
        self.steps_per_epoch = self._order.steps_per_epoch

    def __getitem__(self, step: int) -> PhotoBatch:
        """Return the batch of ``step``."""
        persons = self._order[step]
        copies = np.random.default_rng((self.seed, step)).integers(self.stored.copies, size=self.batch_size)
        return self.stored.rows(copies * self.stored.num_persons + persons)


def store_features(
    folder: Path,
    backbone: Backbone,
    crops: PersonCrops,
    about: Mapping[str, Any],
    report: Callable[[str], None],
) -> StoredFeatures:
    """Return the features in a folder, which is filled first if it does not exist; it appears whole or not at all.

    Args:
        folder: Where.
        backbone: Frozen.
        crops: The persons, with augmentation.
        about: What the features depend on, with ``copies`` (crops a person) and ``image_size``.
        report: Told how far it is, and once of each photo that cannot be read; another person then takes the place.

    Raises:
        ValueError: As :class:`StoredFeatures`.
        PhotoError: If 20 persons in a row have photos that cannot be read.
    """
    if folder.exists():
        return StoredFeatures(folder, about)
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    hidden.mkdir()
    try:
        _fill(hidden, backbone, crops, int(about["copies"]), report)
        (hidden / _ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        os.rename(hidden, folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return StoredFeatures(folder, about)


@torch.inference_mode()
def _fill(folder: Path, backbone: Backbone, crops: PersonCrops, copies: int, report: Callable[[str], None]) -> None:
    persons, device = len(crops.source), next(backbone.parameters()).device
    shape = (persons * copies, backbone.channels, *backbone.grid)
    written = np.lib.format.open_memmap(folder / _FEATURES, mode="w+", dtype=np.float16, shape=shape)
    # Made whole at the first batch: tensors kept from every batch would leave holes all over the heap.
    labels: dict[str, np.ndarray] = {}
    said: set[str] = set()
    backbone.eval()
    for first in range(0, len(written), _BATCH):
        rows = range(first, min(first + _BATCH, len(written)))
        faults: list[str] = []
        batch = PhotoBatch.from_crops([_draw(crops, row, persons, faults) for row in rows]).to(device)
        for fault in sorted(set(faults) - said):
            report(f"{fault}; other persons take the place of its own")
        said |= set(faults)
        written[rows.start : rows.stop] = backbone(batch.images).cpu().half().numpy()
        for name in _NAMES:
            values = getattr(batch, name).cpu().numpy()
            labels.setdefault(name, np.zeros((len(written), *values.shape[1:]), values.dtype))[first : rows.stop] = (
                values
            )
        if first // _BATCH % 50 == 0:
            report(f"features of {first:,} of {len(written):,} crops are stored")
    written.flush()
    np.savez(folder / _LABELS, **cast(dict[str, Any], labels))


def _draw(crops: PersonCrops, row: int, persons: int, faults: list[str]) -> PersonCrop:
    copy, person = divmod(row, persons)
    crop = crops.drawn(person, copy, person, faults)
    if crop is None:
        raise PhotoError(f"{faults[-1]}; so do many persons in a row")
    return crop
