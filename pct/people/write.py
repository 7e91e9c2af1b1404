"""Write generated people as a COCO-format data set: a folder with annotations.json and images/."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pct.files.coco import write_coco_json
from pct.files.output import OutputError
from pct.people.scene import SceneSource
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17

ANNOTATIONS, IMAGES = "annotations.json", "images"
_CHUNK = 16  # scenes that a worker draws at a time


@dataclass(frozen=True)
class PeopleSet:
    """What was written: numbers of photos and of annotated persons."""

    num_images: int
    num_persons: int


def write_people(
    folder: str | Path,
    source: SceneSource,
    num_images: int,
    *,
    first_index: int = 0,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int], object] | None = None,
) -> PeopleSet:
    """Write scenes ``first_index`` to ``first_index + num_images - 1`` as a COCO-format set.

    Annotations carry ``keypoints3d`` (Human3.6M's 17 joints in camera millimetres), images ``camera`` (focal length
    and principal point in pixels). The folder appears when it is whole. The number of workers changes no byte of it.

    Args:
        folder: The folder to make.
        source: What draws the scenes.
        num_images: Number of photos.
        first_index: Number of the first scene; the image id.
        workers: Processes that draw.
        force: Replace such a folder that is there.
        progress: Called with the number of photos written since the last call.

    Raises:
        FileExistsError: If the folder exists and ``force`` is not set.
        OutputError: If it cannot be written, or is something else than such a data set.
        ValueError: If a number is not positive.
    """
    for name, value in (("number of images", num_images), ("number of workers", workers)):
        if value < 1:
            raise ValueError(f"the {name} must be positive, got {value}")
    with _whole_folder(Path(folder), force) as temporary:
        (temporary / IMAGES).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        num_persons = 0

        def annotations() -> Iterator[dict[str, Any]]:
            nonlocal num_persons
            indices = range(first_index, first_index + num_images)
            for chunk in _draw_all(partial(_draw_chunk, source, temporary / IMAGES), indices, workers):
                for image, persons in chunk:
                    images.append(image)
                    num_persons += len(persons)
                    yield from persons
                if progress is not None:
                    progress(len(chunk))

        write_coco_json(temporary / ANNOTATIONS, COCO17, (image for image in images), annotations())
    return PeopleSet(num_images, num_persons)


Drawn = list[tuple[dict[str, Any], list[dict[str, Any]]]]


def _draw_all(draw: Callable[[range], Drawn], indices: range, workers: int) -> Iterator[Drawn]:
    """Yield what ``draw`` returns for pieces of ``indices``, in order."""
    pieces = [indices[i : i + _CHUNK] for i in range(0, len(indices), _CHUNK)]
    if workers == 1:
        yield from map(draw, pieces)
        return
    # Forked processes inherit locks of torch's threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread) as pool:
        waiting: list[Future[Drawn]] = []
        for piece in pieces:
            waiting.append(pool.submit(draw, piece))
            # Few results wait at a time, so memory does not grow with the set.
            if len(waiting) > 4 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def _draw_chunk(source: SceneSource, folder: Path, indices: range) -> Drawn:
    """Draw scenes, write their photos, and return their image entries and annotations."""
    drawn: Drawn = []
    for index in indices:
        scene = source.generate(index)
        name = f"{index:012d}.jpg"
        (folder / name).write_bytes(scene.jpeg)
        main = scene.persons[0]
        assert main.intrinsics is not None
        image = {
            "id": index,
            "file_name": name,
            "width": main.image.shape[1],
            "height": main.image.shape[0],
            "camera": dict(zip(("fx", "fy", "cx", "cy"), main.intrinsics.tolist(), strict=True)),
        }
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


@contextmanager
def _whole_folder(folder: Path, force: bool) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; it takes its name when the block ends well, else it is removed."""
    if not folder.parent.is_dir():
        raise OutputError(f"output folder {folder.parent} does not exist; make it first")
    if folder.exists() or folder.is_symlink():
        if not force:
            raise FileExistsError(f"output {folder} exists; give --force (force=True) to replace it")
        if not (folder.is_dir() and {p.name for p in folder.iterdir()} <= {ANNOTATIONS, IMAGES}):
            raise OutputError(f"output {folder} is no set of generated people, so it is not replaced")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        yield temporary
        if folder.exists():
            folder.replace(old)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
