"""Write generated people as a COCO-format data set: a folder with annotations.json and images/."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pct.files.coco_writer import write_coco_json
from pct.files.output import check_names
from pct.files.output_folder import outputs_together
from pct.people.scene import GeneratedPersons
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17

ANNOTATIONS, IMAGES = "annotations.json", "images"
_CHUNK = 16  # scenes that a worker draws at a time

Drawn = tuple[dict[str, Any], list[dict[str, Any]]]


def write_people(
    folder: str | Path,
    people: GeneratedPersons,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
) -> int:
    """Write the scenes of generated people as a COCO-format set.

    Annotations carry ``keypoints3d`` (Human3.6M's 17 joints in camera millimetres), images ``camera`` (focal length
    and principal point in pixels). Both outputs appear when they are whole. The number of workers changes no byte.

    Args:
        folder: Where the two are to be; made if it does not exist.
        people: Whose scenes.
        workers: Processes that draw.
        force: Replace a set that is there.
        progress: Called with the number of photos written since the last call.

    Returns:
        Number of annotated persons.

    Raises:
        FileExistsError: If there is a set and ``force`` is not set.
        OutputError: If it cannot be written.
        ValueError: If there are no workers.
    """
    if workers < 1:
        raise ValueError(f"the number of workers must be positive, got {workers}")
    check_names(Path(folder), (ANNOTATIONS, IMAGES), force)
    with (
        outputs_together(Path(folder), (ANNOTATIONS, IMAGES), force) as half,
        # Workers end before the folder that they draw into is removed.
        closing(_draw_all(partial(_draw, people, half / IMAGES), len(people), workers)) as drawings,
    ):
        (half / IMAGES).mkdir()
        images: list[dict[str, Any]] = []
        number = 0

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal number
            for image, persons in drawings:
                images.append(image)
                number += len(persons)
                yield from persons
                if progress is not None:
                    progress(1)

        write_coco_json(half / ANNOTATIONS, COCO17, (image for image in images), annotations())
    return number


def _draw_all(draw: Callable[[int], Drawn], number: int, workers: int) -> Generator[Drawn]:
    """Yield what ``draw`` returns for the first ``number`` scenes, in order."""
    if workers == 1:
        yield from map(draw, range(number))
        return
    # Forked processes inherit locks of torch's threads. A DataLoader would raise a worker's error without its errno.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(draw, range(number), chunksize=_CHUNK)


def _draw(people: GeneratedPersons, folder: Path, index: int) -> Drawn:
    """Draw a scene, write its photo, and return its image entry and annotations."""
    scene = people.scene(index)
    name, main = f"{index:012d}.jpg", scene.persons[0]
    (folder / name).write_bytes(scene.jpeg)
    assert main.intrinsics is not None
    height, width = main.image.shape[:2]
    camera = dict(zip(("fx", "fy", "cx", "cy"), main.intrinsics.tolist(), strict=True))
    image = {"id": index, "file_name": name, "width": width, "height": height, "camera": camera}
    return image, [_annotation(person) for person in scene.persons]


def _annotation(person: PersonPhoto) -> dict[str, Any]:
    assert person.keypoints3d is not None
    triplets = zip(person.keypoints.tolist(), person.visibility.tolist(), strict=True)
    return {
        "id": person.annotation_id,
        "image_id": person.image_id,
        "bbox": [round(v, 2) for v in person.bbox.tolist()],
        "area": person.area,
        "keypoints": [value for (x, y), v in triplets for value in (round(x, 2), round(y, 2), v)],
        "keypoints3d": [[round(v, 1) for v in joint] for joint in person.keypoints3d.tolist()],
    }
