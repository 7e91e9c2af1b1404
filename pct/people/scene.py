"""Scenes of generated people: cast, camera, background, occluders and labels put together into a photo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pct.files.motion.mocap import complete_bodies, load_mocap
from pct.files.photo import decode_photo
from pct.people.camera import Camera, place_main, place_other, turn
from pct.people.figure import PARTS, draw_cloth, draw_look, dress, girth_of
from pct.people.kinematics import BODY_POINTS, generate_bodies, mirror_bodies
from pct.people.labels import COCO_POINTS, Actor, annotate, inside_picture
from pct.people.render import Canvas, Capsule, Light
from pct.people.scenery import MAX_SIZE, draw_background, encode_jpeg, list_photos, photo_background, photograph
from pct.photos.persons import PersonPhoto

_BLOCK = 512  # scenes that draw their bodies together
_ATTEMPTS = 6
_PERSONS_PER_IMAGE = 10  # annotation ids of an image: from this many times its id + 1
_MIN_SEEN = 5  # joints of the main person that are seen, unless it is seen from where it hides most itself
_MOCAP = 0.5  # share of the postures that are from motion capture, where there is any
_OCCLUDER = 0.28  # how often there are things in front of the main person


@dataclass(frozen=True)
class Scene:
    """A generated photo.

    Attributes:
        jpeg: The compressed photo.
        persons: The annotated people; the first is the one that the photo is about.
    """

    jpeg: bytes
    persons: tuple[PersonPhoto, ...]


@dataclass(frozen=True)
class SceneSource:
    """What scenes are drawn from; scene ``index`` is a pure function of these values and the index.

    Attributes:
        seed: The same seed gives the same scenes.
        image_size: Side of the pictures in pixels, 32 to 1024.
        backgrounds: Photos to put people before, best without people of their own, which nobody labels; none draws
            backgrounds.
        mocap: Motion capture file (see :func:`pct.files.motion.mocap.load_mocap`) that half of the postures are from;
            None makes up all postures.
        quality: JPEG quality, 1 to 100; None draws one from 35 to 95 for each scene.

    Raises:
        ValueError: If a value is out of its range.
    """

    seed: int
    image_size: int = 256
    backgrounds: tuple[Path, ...] = ()
    mocap: Path | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"the seed must not be negative, got {self.seed}")
        if not 32 <= self.image_size <= MAX_SIZE:
            raise ValueError(f"image_size must be from 32 to {MAX_SIZE} pixels, got {self.image_size}")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"the JPEG quality must be from 1 to 100, got {self.quality}")

    @classmethod
    def open(
        cls,
        seed: int,
        image_size: int = 256,
        backgrounds: str | Path | None = None,
        mocap: str | Path | None = None,
        quality: int | None = None,
    ) -> SceneSource:
        """Open a source whose backgrounds are the photos of a folder, and read its motion capture.

        Raises:
            ValueError: If there is no such folder or it has no photo, the motion capture cannot be used, or a value
                is out of its range.
        """
        photos = () if backgrounds is None else list_photos(backgrounds)
        source = cls(seed, image_size, photos, None if mocap is None else Path(mocap), quality)
        if source.mocap is not None:
            _mocap_bodies(source.mocap)
        return source

    def generate(self, index: int) -> Scene:
        """Draw scene ``index``, 0 or more."""
        if index < 0:
            raise ValueError(f"the index of a scene must not be negative, got {index}")
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self.seed, index, attempt])
            scene = _try_scene(self, index, rng, whole=attempt == _ATTEMPTS - 1)
            if scene is not None:
                return scene
        # A whole person with nothing before it always has a joint that is seen.
        raise AssertionError(f"scene {index} of seed {self.seed} shows nobody")


@lru_cache(maxsize=256)
def _bodies(seed: int, block: int, mocap: Path | None) -> np.ndarray:
    """Return the bodies (_BLOCK, P, 3) that the scenes of a block choose from."""
    words = np.random.SeedSequence([seed, block]).generate_state(2)
    generator = torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))
    bodies = generate_bodies(_BLOCK, generator)
    if mocap is not None:
        recorded = _mocap_bodies(mocap)
        recorded = recorded[torch.randint(len(recorded), (_BLOCK,), generator=generator)]
        mirrored = torch.rand(_BLOCK, 1, 1, generator=generator) < 0.5
        recorded = torch.where(mirrored, mirror_bodies(recorded), recorded)
        bodies = torch.where(torch.rand(_BLOCK, 1, 1, generator=generator) < _MOCAP, recorded, bodies)
    return bodies.numpy().astype(np.float64)


@lru_cache(maxsize=4)
def _mocap_bodies(path: Path) -> Tensor:
    """Return all bodies (F, P, 3) of a motion capture file, float32, turned to look along z like generated ones."""
    bodies = complete_bodies(load_mocap(path).joints)
    left = bodies[:, BODY_POINTS.index("left_hip")] - bodies[:, BODY_POINTS.index("right_hip")]
    angle = np.arctan2(left[:, 2], left[:, 0])
    return torch.from_numpy(np.stack([turn(b, a) for b, a in zip(bodies, angle, strict=True)])).float()


def _try_scene(source: SceneSource, index: int, rng: np.random.Generator, whole: bool) -> Scene | None:
    size, photos = source.image_size, source.backgrounds
    camera = Camera.draw(size, rng)
    actors = _cast(_bodies(source.seed, index // _BLOCK, source.mocap), index % _BLOCK, camera, rng, whole)
    if inside_picture(camera.project(actors[0].points[COCO_POINTS]), size).sum() < _MIN_SEEN:
        return None
    canvas = Canvas(photo_background(photos, size, rng) if photos else draw_background(size, rng), camera)
    light = _draw_light(rng)
    drawn = [(solid, n * len(PARTS) + part) for n, actor in enumerate(actors) for part, solid in actor.solids]
    if not whole and rng.random() < _OCCLUDER:
        drawn += _draw_things(actors[0].points, len(actors), rng)
    for solid, owner in sorted(drawn, key=lambda item: -(item[0].start + item[0].end)[2]):
        canvas.draw(solid, owner, light)
    persons = [annotate(canvas, actor, number) for number, actor in enumerate(actors)]
    main = persons[0]
    if main is None or (not whole and (main.visibility == 2).sum() < _MIN_SEEN):
        return None
    quality = int(rng.integers(35, 96)) if source.quality is None else source.quality
    jpeg = encode_jpeg(photograph(canvas.color, rng), quality)
    image, labelled = decode_photo(jpeg, f"scene {index}"), [person for person in persons if person is not None]
    # COCO's evaluator takes an annotation with id 0 for none.
    ids = range(_PERSONS_PER_IMAGE * index + 1, _PERSONS_PER_IMAGE * (index + 1))
    named = (replace(p, image=image, image_id=index, annotation_id=i) for p, i in zip(labelled, ids, strict=False))
    return Scene(jpeg, tuple(named))


def _cast(bodies: np.ndarray, row: int, camera: Camera, rng: np.random.Generator, whole: bool) -> list[Actor]:
    """Place and dress the people of a scene, the main one first."""
    main = bodies[row]
    points = place_main(main, camera, rng, whole)
    actors = [_dress(points, rng)]
    if whole:
        return actors
    floor = points.mean(axis=0) - camera.axes[:, 1] * main[:, 1].mean()
    for _ in range(int(rng.choice([0, 1, 2], p=[0.62, 0.25, 0.13]))):
        other = place_other(bodies[int(rng.integers(len(bodies)))], floor, camera, rng)
        if other is not None:
            actors.append(_dress(other, rng))
    return actors


def _dress(points: np.ndarray, rng: np.random.Generator) -> Actor:
    look = draw_look(rng)
    girth = girth_of(points, look.build)
    return Actor(points, dress(points, look, girth), girth)


def _draw_light(rng: np.random.Generator) -> Light:
    x, y, z = rng.normal(0, 0.7), -abs(rng.normal(0.5, 0.5)), -abs(rng.normal(0.6, 0.4)) - 0.2
    length = float(np.sqrt(x * x + y * y + z * z))
    return Light((x / length, y / length, z / length), float(rng.uniform(0.35, 0.7)))


def _draw_things(main: np.ndarray, first: int, rng: np.random.Generator) -> list[tuple[Capsule, int]]:
    """Return things in front of a person (P, 3), with their owners' numbers."""
    things = []
    for number in range(first, first + int(rng.choice([1, 2, 3], p=[0.7, 0.24, 0.06]))):
        ends, radii = main[rng.integers(len(main), size=2)] + rng.normal(0, 120, (2, 3)), rng.uniform(40, 130, 2)
        ends = ends * (main[:, 2].min() - radii.max() - 60.0) / ends[:, 2:]
        material = draw_cloth(rng, plain=0.5)
        things.append((Capsule(ends[0], ends[1], (radii[0], radii[1]), material), number * len(PARTS)))
    return things
