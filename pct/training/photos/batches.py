"""Batches of person crops: pure functions of (seed, step), made here or ahead of time by worker processes."""

from __future__ import annotations

import atexit
import signal
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from pct.files.photo import PhotoError
from pct.photos.crop import plain_crop
from pct.photos.persons import PersonPhoto, PersonSource
from pct.pose_space import PoseSpace
from pct.training.batches import EpochOrder
from pct.training.photos.augment import ColourAugment, PhotoAugmentConfig, jitter_crop
from pct.training.photos.crops import PhotoBatch, crop_person

# Persons that are tried in place of one whose photo cannot be read.
_ATTEMPTS = 20
# Number of a person, and two numbers that seed what is drawn for its crop: step and row, or copy and person.
Place = tuple[int, int, int]
# A batch, None if no photo of it can be read, and what is wrong with the photos that cannot.
_Part = tuple[PhotoBatch | None, list[str]]


class PersonCrops(Dataset[_Part]):
    """Batches of crops of persons by number.

    Every crop draws from a generator of its own, seeded by (seed, step, row).

    Args:
        source: The persons.
        space: Where the model's coordinates lie; its padding gives the crop.
        image_size: Height and width of the model's input in pixels.
        seed: Of the augmentation.
        augment: Strengths; None augments nothing, and keeps labels outside the crop.
    """

    def __init__(
        self,
        source: PersonSource,
        space: PoseSpace,
        image_size: tuple[int, int],
        seed: int = 0,
        augment: PhotoAugmentConfig | None = None,
    ) -> None:
        self.source, self.space, self.image_size, self.seed, self.augment = source, space, image_size, seed, augment
        self._colours = ColourAugment(augment, image_size) if augment else None

    def __getitem__(self, places: Iterable[Place]) -> _Part:
        """Return augmented crops; a person whose photo cannot be read has another one in its place."""
        faults, crops = list[str](), list[PersonPhoto]()
        for index, *chance in places:
            rng = np.random.default_rng((self.seed, *chance))
            for _ in range(_ATTEMPTS):
                try:
                    crops.append(self._draw(index, rng))
                    break
                except PhotoError as error:
                    faults.append(str(error))
                    index = int(rng.integers(len(self.source)))
            else:
                return None, faults
        return PhotoBatch.from_crops(crops), faults

    def plain(self, index: int) -> PersonPhoto:
        """Return a person's crop without augmentation; PhotoError if the photo cannot be read."""
        person = self.source[index]
        return crop_person(person, self.source.skeleton, plain_crop(person.bbox, self.space, self.image_size))

    def _draw(self, index: int, rng: np.random.Generator) -> PersonPhoto:
        if self.augment is None or self._colours is None:
            return self.plain(index)
        person, skeleton = self.source[index], self.source.skeleton
        crop = jitter_crop(plain_crop(person.bbox, self.space, self.image_size), person, skeleton, self.augment, rng)
        result = crop_person(person, skeleton, crop, self.augment.outside_margin)
        return replace(result, image=self._colours(result.image, int(rng.integers(2**31))))


class PhotoBatches:
    """Augmented crops of persons, shuffled anew every epoch.

    A batch depends neither on the number of workers nor on that of processes, and a process reads the photos of its
    own part only. A person whose photo cannot be read is reported, and another one drawn in its place.

    Args:
        source: The persons.
        space: Where the model's coordinates lie; its padding gives the crop.
        image_size: Height and width of the model's input in pixels.
        batch_size: Persons a step over all processes.
        seed: Of order and augmentation.
        augment: Strengths; see :class:`PersonCrops`.
        num_workers: Processes that make the next batches ahead; 0 makes each when it is asked for. They serve steps
            that are asked for one after the other; another step starts them anew.
        report: Called once for each photo that cannot be read; by default a warning.
        weights: Probability of each person (N,), with sum 1; None takes each once an epoch.

    Raises:
        ValueError: If there is no person, or the batch does not divide by the number of processes.
    """

    def __init__(
        self,
        source: PersonSource,
        space: PoseSpace,
        image_size: tuple[int, int],
        batch_size: int,
        seed: int = 0,
        augment: PhotoAugmentConfig | None = None,
        num_workers: int = 0,
        report: Callable[[str], None] | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self._order = EpochOrder(len(source), batch_size, seed, weights)
        self.batch_size, self.steps_per_epoch = batch_size, self._order.steps_per_epoch
        self._crops = PersonCrops(source, space, image_size, seed, augment)
        self._num_workers, self._reports = num_workers, Reports(report)
        self._ahead: Iterator[_Part] = iter(())
        self._next = -1

    def __getitem__(self, step: int) -> PhotoBatch:
        """Return this process's part of the batch of ``step``.

        Raises:
            PhotoError: If 20 persons in a row have photos that cannot be read.
        """
        if self._num_workers and step != self._next:
            self.close()
            settings: dict[str, Any] = {"num_workers": self._num_workers, "worker_init_fn": _start_worker}
            with opencv_on_one_thread():
                # One step is one part: nothing is left to collate.
                places = map(self._places, count(step))
                self._ahead = iter(DataLoader(self._crops, batch_size=None, sampler=places, **settings))
            # Before multiprocessing's own end, which would kill the workers amid their work.
            atexit.register(_close, weakref.ref(self))
        self._next = step + 1
        return self._reports.unpack(next(self._ahead) if self._num_workers else self._crops[self._places(step)])

    def _places(self, step: int) -> list[Place]:
        own = self._order.own
        return [(index, step, row) for row, index in enumerate(self._order[step][own].tolist(), own.start)]

    def close(self) -> None:
        """Stop the worker processes; the next step that is asked for starts them again."""
        self._ahead, self._next = iter(()), -1


def evaluation_batches(
    source: PersonSource,
    space: PoseSpace,
    image_size: tuple[int, int],
    batch_size: int,
    report: Callable[[str], None] | None = None,
) -> Iterator[PhotoBatch]:
    """Yield all persons in order, in plain crops with all their labels; the last batch may be smaller.

    Args:
        source: The persons.
        space: Where the model's coordinates lie; its padding gives the crop.
        image_size: Height and width of the model's input in pixels.
        batch_size: Persons a batch.
        report: Called once for each photo that cannot be read, and whose persons are skipped; by default a warning.
    """
    persons, reports = PersonCrops(source, space, image_size), Reports(report)
    for start in range(0, len(source), batch_size):
        crops = []
        for index in range(start, min(len(source), start + batch_size)):
            try:
                crops.append(persons.plain(index))
            except PhotoError as error:
                reports.add([str(error)])
        if crops:
            yield PhotoBatch.from_crops(crops)


class Reports:
    """Says once of each photo that it cannot be read, and what follows; by default as a warning."""

    def __init__(self, report: Callable[[str], None] | None, result: str = "its persons are skipped") -> None:
        self._report, self._result, self._said = report or warnings.warn, result, set[str]()

    def add(self, faults: Iterable[str]) -> None:
        """Say those faults that are new."""
        for fault in faults:
            if fault not in self._said:
                self._said.add(fault)
                self._report(f"{fault}; {self._result}")

    def unpack(self, part: _Part) -> PhotoBatch:
        """Say what is wrong with the photos of a part, and return its batch; PhotoError if it has none."""
        batch, faults = part
        self.add(faults)
        if batch is None:
            raise PhotoError(f"{faults[-1]}; so do {_ATTEMPTS} persons in a row")
        return batch


@contextmanager
def opencv_on_one_thread() -> Iterator[None]:
    """Let OpenCV do without its threads for a while.

    A process that is forked off while OpenCV has threads can wait for them for ever: they are not in it.
    """
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _close(batches: weakref.ref[PhotoBatches]) -> None:
    alive = batches()
    if alive is not None:
        alive.close()


def _start_worker(_number: int) -> None:
    # Ctrl-C reaches all processes; the main one decides when the work ends, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
