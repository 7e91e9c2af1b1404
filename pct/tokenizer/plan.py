"""TokenPlan: which joints the tokens of a skeleton are about, where coarse tokens go before fine ones."""

from __future__ import annotations

from dataclasses import dataclass

from pct.skeleton import Skeleton


@dataclass(frozen=True)
class TokenPlan:
    """Which joints the tokens of a skeleton are about.

    Attributes:
        joints: Joints with a fine token, in the order of these tokens.
        limbs: Joints that each coarse token sees, its home first.
        kinds: Kind of each coarse token's home: a left joint and its right partner are of one kind.
        num_kinds: Number of kinds.
        mirrored: True for the right joint of a pair (K,): it is seen in the mirror, so that both sides share their ids.
    """

    joints: tuple[int, ...]
    limbs: tuple[tuple[int, ...], ...]
    kinds: tuple[int, ...]
    num_kinds: int
    mirrored: tuple[bool, ...]

    @classmethod
    def of(cls, skeleton: Skeleton, num_tokens: int, limb_joints: int, root: int | None) -> TokenPlan:
        """Give every joint a fine token, and share the other tokens among the joints as homes of coarse ones.

        Args:
            skeleton: Whose joints.
            num_tokens: Tokens M.
            limb_joints: Joints that a coarse token sees: its home and those nearest to it along the bones.
            root: The joint at the origin, which needs no tokens.

        Raises:
            ValueError: If there are too few tokens.
        """
        joints = tuple(j for j in range(skeleton.num_keypoints) if j != root)
        num_coarse = num_tokens - len(joints)
        if num_coarse < 1:
            raise ValueError(
                f"{num_tokens} tokens are too few for {len(joints)} joints: coarse_fine gives each joint a fine token "
                f"and needs coarse ones beside them; {2 * len(joints)} are usual"
            )
        rounds, homes = 1, [joints[i * len(joints) // num_coarse] for i in range(min(num_coarse, len(joints)))]
        while len(homes) < num_coarse:
            homes += joints[: num_coarse - len(homes)]
            rounds += 1
        partner = skeleton.flip_index
        first = [min(j, int(partner[j])) for j in range(skeleton.num_keypoints)]
        names = sorted({first[home] for home in homes})
        seen: dict[int, int] = {}
        limbs = []
        for home in homes:
            # A right joint has the mirrored limb of its left partner, so that mirrored poses have mirrored tokens.
            left = first[home]
            others = sorted((j for j in joints if j != left), key=lambda j: (skeleton.hops[left, j], abs(left - j)))
            start = seen.get(home, 0) * (limb_joints - 1)
            near = others[start : start + limb_joints - 1]
            limbs.append((home, *(near if home == left else (int(partner[j]) for j in near))))
            seen[home] = seen.get(home, 0) + 1
        return cls(
            joints,
            tuple(limbs),
            tuple(names.index(first[home]) for home in homes),
            len(names),
            tuple(first[j] != j for j in range(skeleton.num_keypoints)),
        )
