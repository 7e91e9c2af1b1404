"""Scenes of generated people: cast, camera, background, occluders and labels put together into a photo (OpenCV)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from pct.files.photo import decode_photo
from pct.people.camera import Camera, Canvas, Capsule, place_main, place_other
from pct.people.figure import PARTS, Actor, draw_color
from pct.people.kinematics import generate_bodies
from pct.people.poses import body_joints
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17, H36M17, Skeleton

_BLOCK = 512  # scenes that draw their bodies together
_ATTEMPTS = 6
_PERSONS_PER_IMAGE = 10  # annotation ids of an image: from this many times its id + 1
_MIN_SEEN = 5  # joints of the main person that are seen, unless it is seen from where it hides most itself
_OCCLUDER = 0.28  # how often there is a thing in front of the main person
_MAX_SIZE = 1024  # of pictures, in pixels
_MIN_AREA = 36.0 / 256**2  # share of the picture from which on a person is annotated

COCO_POINTS, _H36M = body_joints(COCO17), body_joints(H36M17)
# How far, in millimetres, the own body's surface may be in front of a joint that is still seen: what is around it
# in an average adult.
_DEEP = {"nose": 40.0, "eye": 40.0, "ear": 75.0, "shoulder": 110.0, "elbow": 80.0, "wrist": 65.0,
         "hip": 160.0, "knee": 105.0, "ankle": 75.0}  # fmt: skip
# Limbs that a joint is part of never hide it, however they point at the camera.
_LIMBS_OF = {"shoulder": ("upper_arm",), "elbow": ("upper_arm", "forearm"), "wrist": ("forearm",), "hip": ("thigh",),
             "knee": ("thigh", "shank"), "ankle": ("shank",)}  # fmt: skip
_OWN_LIMB = np.array(
    [
        [part in [f"{name.split('_')[0]}_{limb}" for limb in _LIMBS_OF.get(name.split("_")[-1], ())] for part in PARTS]
        for name in COCO17.keypoint_names
    ]
)
# Places along a limb at which its box is measured.
_SHARES = np.linspace(0, 1, 6)[:, None]
_NO_PHOTO = np.empty((0, 0, 3), dtype=np.uint8)
_TOLERANCE = np.array([_DEEP[name.split("_")[-1]] for name in COCO17.keypoint_names])


@dataclass(frozen=True)
class Scene:
    """A generated photo.

    Attributes:
        jpeg: The compressed photo.
        persons: The annotated people; the first is the one that the photo is about.
    """

    jpeg: bytes
    persons: tuple[PersonPhoto, ...]


class GeneratedPersons:
    """The main persons of generated scenes: a source of person photos that needs no files.

    Scene and person i are a pure function of ``seed`` and i.

    Attributes:
        skeleton: COCO's 17 joints.

    Args:
        num_persons: How many there are.
        seed: The same seed gives the same persons.
        image_size: Side of the pictures in pixels, 32 to 1024.

    Raises:
        ValueError: If a value is out of its range.
    """

    skeleton: Skeleton = COCO17

    def __init__(self, num_persons: int, seed: int, image_size: int = 256) -> None:
        if num_persons < 1:
            raise ValueError(f"the number of generated persons must be positive, got {num_persons}")
        if seed < 0:
            raise ValueError(f"the seed must not be negative, got {seed}")
        if not 32 <= image_size <= _MAX_SIZE:
            raise ValueError(f"image_size must be from 32 to {_MAX_SIZE} pixels, got {image_size}")
        self._num_persons, self._seed, self._size = num_persons, seed, image_size

    def __len__(self) -> int:
        return self._num_persons

    def __getitem__(self, i: int) -> PersonPhoto:
        return self.scene(i).persons[0]

    def scene(self, i: int) -> Scene:
        """Draw the scene of person ``i``."""
        if not 0 <= i < self._num_persons:
            raise IndexError(f"person {i} of {self._num_persons}")
        for attempt in range(_ATTEMPTS):
            rng = np.random.default_rng([self._seed, i, attempt])
            scene = self._try_scene(i, rng, whole=attempt == _ATTEMPTS - 1)
            if scene is not None:
                return scene
        # A whole person with nothing before it always has a joint that is seen.
        raise AssertionError(f"scene {i} of seed {self._seed} shows nobody")

    def _try_scene(self, index: int, rng: np.random.Generator, whole: bool) -> Scene | None:
        camera = Camera.draw(self._size, rng)
        actors = _cast(_bodies(self._seed, index // _BLOCK), index % _BLOCK, camera, rng, whole)
        if camera.sees(camera.project(actors[0].points[COCO_POINTS])).sum() < _MIN_SEEN:
            return None
        light = rng.normal((0.0, -0.6, -0.8), (0.7, 0.4, 0.3))
        canvas = Canvas(_draw_background(self._size, rng), camera, light / np.linalg.norm(light))
        drawn = [(solid, n * len(PARTS) + part) for n, actor in enumerate(actors) for part, solid in actor.solids]
        if not whole and rng.random() < _OCCLUDER:
            drawn.append((_draw_thing(actors[0].points, rng), len(actors) * len(PARTS)))
        for solid, owner in sorted(drawn, key=lambda item: -(item[0].start + item[0].end)[2]):
            canvas.draw(solid, owner)
        persons = [annotate(canvas, actor, number) for number, actor in enumerate(actors)]
        if persons[0] is None or (not whole and (persons[0].visibility == 2).sum() < _MIN_SEEN):
            return None
        jpeg = _take_photo(canvas.color, rng)
        image, labelled = decode_photo(jpeg, f"scene {index}"), [person for person in persons if person is not None]
        # COCO's evaluator takes an annotation with id 0 for none.
        first = _PERSONS_PER_IMAGE * index + 1
        named = (replace(p, image=image, image_id=index, annotation_id=i) for i, p in enumerate(labelled, first))
        return Scene(jpeg, tuple(named))


@lru_cache(maxsize=256)
def _bodies(seed: int, block: int) -> np.ndarray:
    """Return the bodies (_BLOCK, P, 3) that the scenes of a block choose from."""
    words = np.random.SeedSequence([seed, block]).generate_state(2)
    generator = torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))
    return generate_bodies(_BLOCK, generator).numpy().astype(np.float64)


def _cast(bodies: np.ndarray, row: int, camera: Camera, rng: np.random.Generator, whole: bool) -> list[Actor]:
    """Place and dress the people of a scene, the main one first; alone where it is to be ``whole``."""
    points = place_main(bodies[row], camera, rng, whole)
    actors = [Actor.dress(points, rng)]
    floor = points.mean(axis=0) - camera.axes[:, 1] * bodies[row][:, 1].mean()
    for _ in range(0 if whole else int(rng.choice([0, 1, 2], p=[0.62, 0.25, 0.13]))):
        other = place_other(bodies[int(rng.integers(len(bodies)))], floor, camera, rng)
        if other is not None:
            actors.append(Actor.dress(other, rng))
    return actors


def _draw_thing(main: np.ndarray, rng: np.random.Generator) -> Capsule:
    """Return a thing in front of a person (P, 3)."""
    ends, radii = main[rng.integers(len(main), size=2)] + rng.normal(0, 120, (2, 3)), rng.uniform(40, 130, 2)
    ends = ends * (main[:, 2].min() - radii.max() - 60.0) / ends[:, 2:]
    return Capsule(ends[0], ends[1], (radii[0], radii[1]), draw_color(rng))


def _draw_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw what is behind people (size, size, 3) float32 RGB: things of plain colours under noise of several scales."""
    import cv2

    image = np.empty((size, size, 3), np.float32)
    image[:] = draw_color(rng)
    for _ in range(int(rng.integers(0, 14))):
        angles = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 12))))
        radius = size * math.exp(rng.uniform(math.log(0.03), math.log(0.4)))
        corners = rng.uniform(0, size, 2) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillConvexPoly(image, np.rint(corners).astype(np.int32), draw_color(rng).tolist(), cv2.LINE_AA)
    for cells in (2, 5, 16, 64):
        noise = rng.standard_normal((cells, cells), dtype=np.float32) * np.float32(
            rng.gamma(1.2, 12.0 if cells < 9 else 6)
        )
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)[..., None]
    return image.clip(0, 255)


def _take_photo(image: np.ndarray, rng: np.random.Generator) -> bytes:
    """Give a drawn picture (H, W, 3) RGB a camera's marks - blur, exposure, white balance, noise - as a JPEG."""
    import cv2

    blurred = cv2.GaussianBlur(image, (0, 0), max(0.1, rng.uniform(0.0, 1.8) * len(image) / 256))
    gains = math.exp(rng.normal(0, 0.18)) * np.exp(rng.normal(0, 0.05, 3))
    noise = rng.gamma(1.5, 2.2) * rng.standard_normal(image.shape, dtype=np.float32)
    photo = ((blurred - 128.0) * gains + 128.0 + rng.normal(0, 14) + noise).clip(0, 255).astype(np.uint8)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
    return cv2.imencode(".jpg", cv2.cvtColor(photo, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def _outline(camera: Camera, actor: Actor) -> np.ndarray:
    """Return left, top, right and bottom (4,) of a whole person in pixels, cut off at the picture's border."""
    solids = [solid for _, solid in actor.solids]
    ends = np.array([(solid.start, solid.end) for solid in solids])  # (n, 2, 3)
    pixels = camera.project(ends)
    radii = np.array([solid.radii for solid in solids])[..., None] * camera.focal / ends[..., 2:]
    # In pieces: what of a long limb lies outside the picture must not widen the box inside.
    middles, widths = ((1 - _SHARES) * x[:, :1] + _SHARES * x[:, 1:] for x in (pixels, radii))
    low, high = (middles - widths).reshape(-1, 2), (middles + widths).reshape(-1, 2)
    seen = ((low < camera.size) & (high > 0)).all(axis=1)
    box = [low[seen].min(axis=0, initial=camera.size), high[seen].max(axis=0, initial=0)]
    return np.concatenate(box).clip(0, camera.size)


def annotate(canvas: Canvas, actor: Actor, number: int) -> PersonPhoto | None:
    """Label a person, or return None where too little of it is seen.

    Returns:
        A person without its photo. Visibility is 2 where a joint is seen, 1 where it is hidden by the person's own
        body, someone or something else, 0 outside the picture; the box is that of the whole body, hidden parts
        included, cut off at the picture's border.
    """
    camera, first = canvas.camera, number * len(PARTS)
    area = int(((canvas.owner >= first) & (canvas.owner < first + len(PARTS))).sum())
    joints = actor.points[COCO_POINTS]
    pixels = camera.project(joints)
    inside = camera.sees(pixels)
    columns, rows = np.round(pixels).clip(0, camera.size - 1).astype(int).T
    seen, before = canvas.owner[rows, columns], joints[:, 2] - canvas.depth[rows, columns]
    own, part = seen // len(PARTS) == number, seen % len(PARTS)
    own_limb = own & _OWN_LIMB[np.arange(len(part)), part]
    hidden = ~own_limb & (before > np.where(own, _TOLERANCE * actor.girth, 0.0))
    visibility = np.where(inside, np.where(hidden, 1, 2), 0)
    if area < _MIN_AREA * camera.size**2 or not (visibility == 2).any():
        return None
    box = _outline(camera, actor)
    return PersonPhoto(
        image=_NO_PHOTO,
        bbox=np.array([*box[:2], *(box[2:] - box[:2])], dtype=np.float32),
        keypoints=np.where(inside[:, None], pixels, 0.0).astype(np.float32),
        visibility=visibility.astype(np.int64),
        area=float(max(area, 1)),
        image_id=0,
        annotation_id=0,
        keypoints3d=actor.points[_H36M].astype(np.float32),
        intrinsics=camera.intrinsics,
    )
