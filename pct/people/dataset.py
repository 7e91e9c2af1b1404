"""Generated people as a source of person photos: training data without any download."""

from __future__ import annotations

from pathlib import Path

from pct.people.scene import SceneSource
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17, Skeleton


class GeneratedPersons:
    """The main persons of generated scenes: a source of person photos that never ends and needs no files.

    Attributes:
        skeleton: COCO's 17 joints.

    Args:
        num_persons: How many there are.
        seed: The same seed gives the same persons; person i is of scene i.
        image_size: Side of the pictures in pixels.
        backgrounds: Folder with photos for the background; None draws backgrounds.
        mocap: Motion capture file that half of the postures are from; None makes up all postures.

    Raises:
        ValueError: If ``num_persons`` is not positive, or a folder or file cannot be used.
    """

    skeleton: Skeleton = COCO17

    def __init__(
        self,
        num_persons: int,
        seed: int,
        image_size: int = 256,
        backgrounds: str | Path | None = None,
        mocap: str | Path | None = None,
    ) -> None:
        if num_persons < 1:
            raise ValueError(f"the number of generated persons must be positive, got {num_persons}")
        self._num_persons, self._source = num_persons, SceneSource.open(seed, image_size, backgrounds, mocap)

    def __len__(self) -> int:
        return self._num_persons

    def __getitem__(self, i: int) -> PersonPhoto:
        if not 0 <= i < self._num_persons:
            raise IndexError(f"person {i} of {self._num_persons}")
        return self._source.generate(i).persons[0]
