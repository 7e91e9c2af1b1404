"""Batches of person crops: pure functions of (seed, step), prepared ahead by threads, whatever their number."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock

import numpy as np

from pct import distributed
from pct.data.photo_augment import ColourAugment, PhotoAugmentConfig
from pct.data.photo_crop import PersonCrop, PhotoBatch, crop_person, jitter_crop, plain_crop
from pct.data.photo_files import PhotoError
from pct.data.photos import PersonSource
from pct.pose_space import PoseSpace

# Persons that are tried in place of one whose photo cannot be read.
_ATTEMPTS = 20
# Batches that threads prepare ahead of the one that is asked for.
_AHEAD = 2


class PhotoBatches:
    """Augmented crops of persons, shuffled anew every epoch.

    Every sample draws from a generator of its own, seeded by (seed, step, row): a batch depends neither on the number
    of threads nor on that of processes, and a process reads the photos of its own part only. A person whose photo
    cannot be read is reported, and another one drawn in its place.

    Args:
        source: The persons.
        space: Where the model's coordinates lie; its padding gives the crop.
        image_size: Height and width of the model's input in pixels.
        batch_size: Persons a step over all processes.
        seed: Of order and augmentation.
        augment: Strengths; None augments nothing, and keeps labels outside the crop.
        num_workers: Threads that prepare batches ahead; 0 prepares each when it is asked for.
        report: Called once for each photo that cannot be read; by default a warning.

    Raises:
        ValueError: If there are no persons, or the batch does not divide by the number of processes.
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
    ) -> None:
        if len(source) == 0:
            raise ValueError("there are no persons to train on")
        if batch_size < 1 or batch_size % distributed.world_size():
            raise ValueError(
                f"batch_size {batch_size} must be positive and divide by the {distributed.world_size()} processes"
            )
        self.source, self.space, self.image_size = source, space, image_size
        self.batch_size, self.seed, self.augment = batch_size, seed, augment
        self.steps_per_epoch = max(1, len(source) // batch_size)
        self._colours = ColourAugment(augment, image_size) if augment else None
        self._report, self._reported, self._lock = report or warnings.warn, set[str](), Lock()
        self._epoch, self._order = -1, np.empty(0, np.int64)
        self._pool = ThreadPoolExecutor(num_workers, "photos") if num_workers else None
        self._waiting: dict[int, list[Future[PersonCrop]]] = {}

    def __getitem__(self, step: int) -> PhotoBatch:
        """Return this process's part of the batch of ``step``.

        Raises:
            PhotoError: If 20 persons in a row have photos that cannot be read.
        """
        if self._pool is None:
            return PhotoBatch.from_crops([self._sample(step, row, person) for row, person in self._persons(step)])
        wanted = range(step, step + _AHEAD + 1)
        for other in [s for s in self._waiting if s not in wanted]:
            for future in self._waiting.pop(other):
                future.cancel()
        for ahead in wanted:
            if ahead not in self._waiting:
                persons = self._persons(ahead)
                self._waiting[ahead] = [self._pool.submit(self._sample, ahead, row, i) for row, i in persons]
        return PhotoBatch.from_crops([future.result() for future in self._waiting.pop(step)])

    def close(self) -> None:
        """Stop the threads; what was prepared ahead is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _persons(self, step: int) -> list[tuple[int, int]]:
        """Return row and person of this process's part of a batch."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            self._order, self._epoch = rng.permutation(len(self.source)), epoch
        share = self.batch_size // distributed.world_size()
        first = distributed.rank() * share
        # A set smaller than a batch fills it by repetition.
        places = np.arange(place * self.batch_size + first, place * self.batch_size + first + share)
        return list(zip(range(first, first + share), self._order[places % len(self._order)].tolist(), strict=True))

    def _sample(self, step: int, row: int, index: int) -> PersonCrop:
        rng = np.random.default_rng((self.seed, step, row))
        for _ in range(_ATTEMPTS):
            try:
                return self._crop(index, rng)
            except PhotoError as error:
                last = error
                self._report_once(str(error))
                index = int(rng.integers(len(self.source)))
        raise last

    def _crop(self, index: int, rng: np.random.Generator) -> PersonCrop:
        person, skeleton, augment = self.source[index], self.source.skeleton, self.augment
        crop = plain_crop(person.bbox, self.space, self.image_size)
        if augment is None or self._colours is None:
            return crop_person(person, skeleton, crop)
        crop = jitter_crop(crop, person, skeleton, augment, rng)
        result = crop_person(person, skeleton, crop, augment.outside_margin)
        return replace(result, image=self._colours(result.image, int(rng.integers(2**31))))

    def _report_once(self, message: str) -> None:
        with self._lock:
            new = message not in self._reported
            self._reported.add(message)
        if new:
            self._report(f"{message}; its persons are skipped")


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
    report, reported, crops = report or warnings.warn, set[str](), list[PersonCrop]()
    for index in range(len(source)):
        try:
            person = source[index]
        except PhotoError as error:
            if str(error) not in reported:
                report(f"{error}; its persons are skipped")
            reported.add(str(error))
            continue
        crops.append(crop_person(person, source.skeleton, plain_crop(person.bbox, space, image_size)))
        if len(crops) == batch_size:
            yield PhotoBatch.from_crops(crops)
            crops = []
    if crops:
        yield PhotoBatch.from_crops(crops)
