"""The lifting networks by name, with their published sizes, and how to build one."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pct.lifting.networks_mixing import ampose_trunk, attention_trunk, mixer_trunk
from pct.lifting.networks_residual import fcn_trunk, gcn_trunk, hcsf_trunk, lcn_trunk
from pct.lifting.networks_stgcn import StgcnTrunk
from pct.lifting.trunk import Trunk, TrunkSizes
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class LifterNetwork:
    """A lifting network and the sizes that it was published with.

    Attributes:
        build: Builds it from its sizes and options.
        source: Who described it.
        width: Channels of its hidden layers.
        depth: Blocks; 0 where their number is fixed.
        dropout: Share of features dropped in training.
        options: Further arguments with their values.
    """

    build: Callable[..., Trunk]
    source: str
    width: int
    depth: int
    dropout: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


def _gcn(sharing: str = "all", decoupled: bool = False, convolution: bool = False) -> LifterNetwork:
    options = {"sharing": sharing, "decoupled": decoupled, "convolution": convolution}
    return LifterNetwork(gcn_trunk, "Liu et al., 2020", 128, 4, options=options)


def _hcsf(graph_width: int) -> LifterNetwork:
    options = {"short": 1, "long": 3, "decay": 0.5, "graph_width": graph_width, "frames": 1}
    return LifterNetwork(hcsf_trunk, "Zeng et al., 2021", 64, 3, 0.25, options)


def _ampose(width: int, num_heads: int) -> LifterNetwork:
    options = {"num_heads": num_heads, "ratio": 2.0, "norm": "literal"}
    return LifterNetwork(ampose_trunk, "Lin et al., 2023", width, 5, options=options)


LIFTERS: dict[str, LifterNetwork] = {
    "fcn": LifterNetwork(fcn_trunk, "Martinez et al., 2017", 1024, 2, 0.5),
    "gcn": _gcn(),
    "gcn_decoupled": _gcn(decoupled=True),
    "gcn_preagg": _gcn("source"),
    "gcn_preagg_decoupled": _gcn("source", decoupled=True),
    "gcn_postagg": _gcn("target"),
    "gcn_postagg_decoupled": _gcn("target", decoupled=True),
    "gcn_conv": _gcn(convolution=True),
    "gcn_unshared": _gcn("pair"),
    "stgcn": LifterNetwork(StgcnTrunk, "Cai et al., 2019", 128, 0, 0.05),
    "lcn": LifterNetwork(lcn_trunk, "Ci et al., 2019", 64, 3, 0.25, {"hops": 3}),
    "hcsf": _hcsf(graph_width=0),
    "dhcsf": _hcsf(graph_width=16),
    "ampose": _ampose(512, 8),
    "ampose_small": _ampose(96, 4),
    "mixer": LifterNetwork(mixer_trunk, "Geng et al., 2023", 512, 4, options={"token_hidden": 64}),
    "attention": LifterNetwork(attention_trunk, "Vaswani et al., 2017", 256, 4, options={"num_heads": 8, "ratio": 2.0}),
}


def build_trunk(
    name: str,
    skeleton: Skeleton,
    in_channels: int = 3,
    width: int | None = None,
    depth: int | None = None,
    dropout: float | None = None,
    **options: Any,
) -> Trunk:
    """Build a lifting network for the joints of ``skeleton``; what is not given is as published.

    Args:
        name: One of :data:`LIFTERS`.
        skeleton: Whose joints.
        in_channels: Channels of an input joint: 2, or 3 with one that says whether it is known.
        width: Channels of the hidden layers.
        depth: Blocks.
        dropout: Share of features dropped in training.
        options: The network's further arguments.

    Raises:
        ValueError: On an unknown name or option, or a bad size.
    """
    if name not in LIFTERS:
        close = difflib.get_close_matches(name, LIFTERS, n=3, cutoff=0.4)
        raise ValueError(f"unknown network {name!r}; {'nearest' if close else 'known'}: {', '.join(close or LIFTERS)}")
    network = LIFTERS[name]
    unknown = sorted(set(options) - set(network.options))
    if unknown:
        allowed = ", ".join(network.options) or "none"
        raise ValueError(f"network {name} has no option {', '.join(unknown)}; its options: {allowed}")
    if depth is not None and not network.depth:
        raise ValueError(f"network {name} has a fixed number of blocks; leave depth out, got {depth}")
    sizes = TrunkSizes(
        skeleton,
        in_channels,
        network.width if width is None else width,
        network.depth if depth is None else depth,
        network.dropout if dropout is None else dropout,
    )
    least = {"in_channels": 1, "width": 1, "depth": 1 if network.depth else 0}
    for name_of_size, minimum in least.items():
        if getattr(sizes, name_of_size) < minimum:
            raise ValueError(f"network {name}: {name_of_size} must be at least 1, got {getattr(sizes, name_of_size)}")
    if not 0 <= sizes.dropout < 1:
        raise ValueError(f"network {name}: dropout must be in [0, 1), got {sizes.dropout}")
    return network.build(sizes, **{**network.options, **options})
