"""Write generated people as a COCO-format data set: a folder with annotations.json and images/."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from pct.files.coco_writer import write_coco_json
from pct.files.output import check_names
from pct.files.output_folder import outputs_together
from pct.people.scene import GeneratedPersons
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17

ANNOTATIONS, IMAGES = "annotations.json", "images"
_CHUNK = 16  # scenes that a worker draws at a time

Drawn = list[tuple[dict[str, Any], list[dict[str, Any]]]]


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
        closing(_draw_all(partial(_draw_chunk, people, half / IMAGES), len(people), workers)) as chunks,
    ):
        (half / IMAGES).mkdir()
        images: list[dict[str, Any]] = []
        number = 0

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal number
            for chunk in chunks:
                for image, persons in chunk:
                    images.append(image)
                    number += len(persons)
                    yield from persons
                if progress is not None:
                    progress(len(chunk))

        write_coco_json(half / ANNOTATIONS, COCO17, (image for image in images), annotations())
    return number


def _draw_all(draw: Callable[[range], Drawn], number: int, workers: int) -> Generator[Drawn]:
    """Yield what ``draw`` returns for pieces of the first ``number`` scenes, in order."""
    pieces = [range(number)[i : i + _CHUNK] for i in range(0, number, _CHUNK)]
    if workers == 1:
        yield from map(draw, pieces)
        return
    # Forked processes inherit locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread) as pool:
        yield from pool.map(draw, pieces)


def _draw_chunk(people: GeneratedPersons, folder: Path, indices: range) -> Drawn:
    """Draw scenes, write their photos, and return their image entries and annotations."""
    drawn: Drawn = []
    for index in indices:
        scene = people.scene(index)
        name = f"{index:012d}.jpg"
        (folder / name).write_bytes(scene.jpeg)
        main = scene.persons[0]
        assert main.intrinsics is not None
        height, width = main.image.shape[:2]
        camera = dict(zip(("fx", "fy", "cx", "cy"), main.intrinsics.tolist(), strict=True))
        image = {"id": index, "file_name": name, "width": width, "height": height, "camera": camera}
        drawn.append((image, [_annotation(person) for person in scene.persons]))
    return drawn


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


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)
