"""What generated people look like: skin, hair, clothes and textures, drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cache

import numpy as np

from pct.people.render import TEXTURE_SIDE, Material

_SKIN = np.array([[255, 224, 196], [240, 200, 165], [222, 170, 130], [190, 130, 90], [140, 90, 60], [90, 58, 40]])
_HAIR = np.array([[20, 16, 14], [50, 34, 24], [90, 60, 36], [150, 105, 60], [215, 180, 120], [150, 60, 30], [170] * 3])
_NUM_TEXTURES = 48


@dataclass(frozen=True)
class Look:
    """A person's appearance.

    Attributes:
        skin: Bare skin.
        hair: Hair colour (3,).
        top: Shirt or jacket.
        bottom: Trousers or shorts.
        shoe: Shoes; None is barefoot.
        glove: Gloves; None is bare hands.
        sleeve: How far sleeves go down the arm: 0 none, 1 to the elbow, 2 to the wrist.
        leg: How far trousers go down the leg: 0.3 shorts, 1 to the knee, 2 to the ankle.
        build: Radii against those of an average person.
        hair_length: 0 is bald, 1 short, above 1.5 over the neck.
        loose: How much wider than the limb the clothes are.
        hat: Hat or cap; None is bareheaded.
        skirt: How far a skirt goes down the thighs, 1 to the knees; 0 is none.
        pack: Backpack; None is none.
        thing: What is held in a hand; None is nothing.
        thing_size: Its length and thickness in millimetres.
        thing_side: The hand that holds it, ``left`` or ``right``.
    """

    skin: Material
    hair: np.ndarray
    top: Material
    bottom: Material
    shoe: Material | None
    glove: Material | None
    sleeve: float
    leg: float
    build: float
    hair_length: float
    loose: float
    hat: Material | None
    skirt: float
    pack: Material | None
    thing: Material | None
    thing_size: tuple[float, float]
    thing_side: str


def draw_look(rng: np.random.Generator) -> Look:
    """Draw an appearance."""
    skin = _SKIN[rng.integers(len(_SKIN))] * rng.uniform(0.88, 1.08) + rng.normal(0, 5, 3)
    skin = skin.clip(20, 255).astype(np.float32)
    hair = (_HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.6, 1.3)).clip(5, 250).astype(np.float32)
    top = _draw_cloth(rng)
    bottom = top if rng.random() < 0.12 else _draw_cloth(rng, plain=0.75)
    return Look(
        skin=Material(skin, skin),
        hair=hair,
        top=top,
        bottom=bottom,
        shoe=_draw_cloth(rng, plain=0.9) if rng.random() < 0.88 else None,
        glove=_draw_cloth(rng, plain=0.9) if rng.random() < 0.06 else None,
        sleeve=float(rng.choice([0.0, rng.uniform(0.3, 0.8), rng.uniform(0.8, 1.6), 2.0], p=[0.12, 0.38, 0.1, 0.4])),
        leg=float(rng.choice([rng.uniform(0.3, 0.9), rng.uniform(1.0, 1.6), 2.0], p=[0.27, 0.1, 0.63])),
        build=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.4)),
        hair_length=float(rng.choice([0.0, 1.0, 2.0], p=[0.08, 0.57, 0.35])),
        loose=float(rng.uniform(1.04, 1.28)),
        hat=_draw_cloth(rng, plain=0.8) if rng.random() < 0.16 else None,
        skirt=float(rng.uniform(0.4, 1.25)) if rng.random() < 0.1 else 0.0,
        pack=_draw_cloth(rng, plain=0.8) if rng.random() < 0.07 else None,
        thing=_draw_cloth(rng, plain=0.7) if rng.random() < 0.15 else None,
        thing_size=(float(rng.uniform(0, 500)), float(rng.uniform(12, 130))),
        thing_side=str(rng.choice(["left", "right"])),
    )


def _draw_cloth(rng: np.random.Generator, plain: float = 0.5) -> Material:
    color, accent = _draw_color(rng), _draw_color(rng)
    index = int(rng.integers(_NUM_TEXTURES))
    if rng.random() < plain:
        # Even plain cloth has folds.
        accent = color * np.float32(rng.uniform(0.7, 0.95))
        index = 0
    return Material(color, accent, textures()[index], float(rng.uniform(2.0, 8.0)))


def _draw_color(rng: np.random.Generator) -> np.ndarray:
    grey = rng.random() < 0.35
    saturation = rng.uniform(0.0, 0.12) if grey else rng.uniform(0.15, 0.95)
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(0.08, 1.0)), np.float32) * 255


@cache
def textures() -> np.ndarray:
    """Return the textures (T, TEXTURE_SIDE, TEXTURE_SIDE) in [0, 1]: noise first, stripes, checks, dots, patches."""
    rng = np.random.default_rng(0)
    ramp = np.arange(TEXTURE_SIDE)
    columns, rows = np.meshgrid(ramp, ramp)
    bank = [_noise(rng, 8)]
    while len(bank) < _NUM_TEXTURES:
        period = int(rng.choice([8, 16, 32]))
        share = rng.uniform(0.25, 0.75) * period
        across, down = (rows % period < share), (columns % period < share)
        kind = len(bank) % 7
        if kind == 0:
            bank.append(across.astype(np.float32))
        elif kind == 1:
            bank.append(down.astype(np.float32))
        elif kind == 2:
            bank.append((across ^ down).astype(np.float32))
        elif kind == 3:
            bank.append(0.5 * across + 0.5 * down)
        elif kind == 4:
            half = period / 2
            bank.append(
                ((rows % period - half) ** 2 + (columns % period - half) ** 2 < share**2 / 4).astype(np.float32)
            )
        elif kind == 5:
            bank.append((_noise(rng, int(rng.choice([4, 8, 16]))) > 0.5).astype(np.float32))
        else:
            bank.append(_noise(rng, int(rng.choice([4, 16, 32]))))
    return np.stack(bank).astype(np.float32)


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth periodic noise (TEXTURE_SIDE, TEXTURE_SIDE) in [0, 1] with ``cells`` values a side."""
    spectrum = np.fft.fft2(rng.standard_normal((TEXTURE_SIDE, TEXTURE_SIDE)))
    frequency = np.fft.fftfreq(TEXTURE_SIDE) * TEXTURE_SIDE
    distance = np.hypot(frequency[:, None], frequency[None])
    noise = np.fft.ifft2(spectrum * np.exp(-((distance / cells) ** 2))).real
    return ((noise - noise.mean()) / (4 * noise.std()) + 0.5).clip(0, 1)
