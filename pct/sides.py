"""Left and right in the names of joints."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l"}
# Sides in a name of small letters that stand for themselves; and a left one also where a word begins or ends.
_SIDES = re.compile(r"left|right|(?<![a-z])[lr](?![a-z])")
_LEFT = re.compile(r"left|l(?![a-z])|(?<![a-z])l")


def derive_flip_pairs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Find left/right partners by name.

    A side is ``left`` or ``right`` anywhere in a name, an ``l`` or ``r`` that stands alone (``l_x``, ``x.L``, ``x-l``,
    ``x_L_1``), or one at the beginning or end of a word (``lx``, ``xL``). Where a name has several sides, the
    mirror changes all: ``left_eye_l`` is the partner of ``right_eye_r``.
    """
    index = {name.lower(): i for i, name in enumerate(names)}
    pairs: dict[int, int] = {}
    for name, i in index.items():
        sides = _SIDES.findall(name)
        mirrored = [_SIDES.sub(lambda m: _OTHER_SIDE[m[0]], name)] if sides and sides[0] in ("left", "l") else []
        mirrored += [name[: m.start()] + _OTHER_SIDE[m[0]] + name[m.end() :] for m in _LEFT.finditer(name)]
        partner = next((index[other] for other in mirrored if other in index), None)
        if partner is not None and not {i, partner} & {*pairs, *pairs.values()}:
            pairs[i] = partner
    return list(pairs.items())
