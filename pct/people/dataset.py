"""Photos of generated people with COCO keypoints, true visibility and 3D joints: training data without any download."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from pct.files.coco3d import intrinsics_of
from pct.people.scene import Scene, SceneSource
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17, Skeleton


def generate_scene(
    seed: int,
    index: int,
    image_size: int = 256,
    *,
    backgrounds: str | Path | None = None,
    mocap: str | Path | None = None,
    quality: int | None = None,
) -> Scene:
    """Generate one photo: a pure function of its arguments.

    Args:
        seed: The same seed and index give the same photo.
        index: Number of the scene, 0 or more.
        image_size: Side of the picture in pixels, 32 to 1024.
        backgrounds: Folder with photos to put people before; None draws backgrounds.
        mocap: Motion capture file that half of the postures are from; None makes up all postures.
        quality: JPEG quality, 1 to 100; None draws one from 35 to 95.

    Raises:
        ValueError: If a value is out of its range, or a folder or file cannot be used.
    """
    return SceneSource.open(seed, image_size, backgrounds, mocap, quality).generate(index)


class GeneratedPersons:
    """The main persons of generated scenes: a source of person photos that never ends and needs no files.

    Attributes:
        skeleton: COCO's 17 joints.

    Args:
        num_persons: How many there are.
        seed: The same seed gives the same persons.
        image_size: Side of the pictures in pixels.
        backgrounds: Folder with photos for the background; None draws backgrounds.
        mocap: Motion capture file that half of the postures are from; None makes up all postures.
        first_index: Number of the scene of person 0.

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
        first_index: int = 0,
    ) -> None:
        if num_persons < 1:
            raise ValueError(f"the number of generated persons must be positive, got {num_persons}")
        if first_index < 0:
            raise ValueError(f"the first index must not be negative, got {first_index}")
        self._num_persons, self._first_index = num_persons, first_index
        self._source = SceneSource.open(seed, image_size, backgrounds, mocap)

    def __len__(self) -> int:
        return self._num_persons

    def __getitem__(self, i: int) -> PersonPhoto:
        index = self._index(i)
        scene = self.scene(i)
        person = scene.persons[0]
        return PersonPhoto(
            image=scene.image,
            bbox=person.bbox,
            keypoints=person.keypoints,
            visibility=person.visibility,
            area=person.area,
            image_id=index,
            annotation_id=index,
            keypoints3d=person.joints3d,
            intrinsics=intrinsics_of(scene.intrinsics),
        )

    def scene(self, i: int) -> Scene:
        """Return the whole scene of person ``i``."""
        return _generate(self._source, self._index(i))

    def joints3d(self, i: int) -> np.ndarray:
        """Return the Human3.6M joints (17, 3) of person ``i`` in camera millimetres."""
        return self.scene(i).persons[0].joints3d

    def _index(self, i: int) -> int:
        if not 0 <= i < self._num_persons:
            raise IndexError(f"person {i} of {self._num_persons}")
        return self._first_index + i


# A sample and its 3D joints are often asked for one after the other.
@lru_cache(maxsize=4)
def _generate(source: SceneSource, index: int) -> Scene:
    return source.generate(index)
