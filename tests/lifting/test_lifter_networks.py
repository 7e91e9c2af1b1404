"""Lifting networks: published counts, features and coordinates, joints in another order, learning, sparse weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_codec import TRIANGLE
from torch import nn

from pct.lifting.config import LifterConfig
from pct.lifting.count import count_multiply_adds, count_parameters
from pct.lifting.joint_groups import vanilla_adjacency
from pct.lifting.lifter import Lifter
from pct.lifting.networks import LIFTERS, build_trunk
from pct.lifting.trunk import Trunk
from pct.skeleton import COCO17, H36M16, H36M17, Skeleton

SMALL = {"fcn": 24, "ampose": 16, "ampose_small": 16, "attention": 16}


PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)


def small(name: str, skeleton: Skeleton = H36M17, in_channels: int = 3) -> Trunk:
    torch.manual_seed(0)
    depth = None if name == "stgcn" else 1
    return build_trunk(name, skeleton, in_channels, SMALL.get(name, 12), depth, dropout=0.0).eval()


def joints(count: int = 5, keypoints: int = 17, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, keypoints, channels, generator=torch.Generator().manual_seed(0))


def hcsf(short: int, long: int, decay: float) -> dict[str, float]:
    return {"short": short, "long": long, "decay": decay}


@pytest.mark.parametrize(
    ("name", "skeleton", "options", "parameters"),
    [
        ("fcn", H36M16, {}, 4_291_632),
        ("fcn", H36M17, {}, 4_296_755),
        ("gcn", H36M16, {}, 135_171),
        ("gcn_decoupled", H36M16, {}, 266_883),
        ("gcn_preagg", H36M16, {}, 2_110_851),
        ("gcn_preagg_decoupled", H36M16, {}, 4_218_243),
        ("gcn_postagg", H36M16, {}, 2_110_851),
        ("gcn_postagg_decoupled", H36M16, {}, 4_218_243),
        ("gcn_conv", H36M16, {}, 398_595),
        # The published layers store all 16 x 16 pairs, not the 46 of bones: 33,721,731 parameters.
        ("gcn_unshared", H36M16, {}, 33_721_731 - (256 - 46) * (2 * 128 + 8 * 128 * 128 + 128 * 3)),
        ("stgcn", H36M17, {}, 3_627_847),
        # The paper tables 18.3 M, and 0.67 M of the small one.
        ("ampose", H36M17, {}, 18_443_779),
        ("ampose", H36M16, {}, 18_441_219),
        ("ampose_small", H36M16, {}, 662_211),
        *(("lcn", H36M17, {"hops": n}, p) for n, p in ((1, 1_427_635), (2, 2_772_019), (3, 4_365_363), (4, 5_908_915))),
        ("hcsf", H36M17, {}, 2_021_293),
        ("hcsf", H36M17, hcsf(1, 2, 0.5), 1_739_210),
        ("hcsf", H36M17, hcsf(1, 3, 0.25), 1_567_818),
        ("hcsf", H36M17, hcsf(2, 4, 0.25), 2_561_354),
        ("hcsf", H36M17, hcsf(3, 3, 1.0), 3_292_452),
    ],
)
def test_published_parameter_counts(name: str, skeleton: Skeleton, options: dict, parameters: int) -> None:
    assert count_parameters(build_trunk(name, skeleton, in_channels=2, **options)) == parameters


def test_ampose_is_what_the_paper_prints() -> None:
    """Equations 1, 2, 5 and 9, written for all heads in a loop; evaluation mode, so norms are affine."""
    network, x = small("ampose", in_channels=2).double(), joints(channels=2).double()
    randomise(network)
    w = network.state_dict()
    adjacency = np.eye(17) + (H36M17.hops == 1)
    nearer = np.array(PARENTS)[:, None] == np.arange(17)  # where the source (column) is the target's parent
    groups = [adjacency * mask for mask in (np.eye(17), nearer, nearer.T)]
    roots = [np.diag([0 if d == 0 else d**-0.5 for d in g.sum(axis=1)]) for g in groups]
    graph = torch.from_numpy(np.stack([r @ g @ r for r, g in zip(roots, groups, strict=True)]))

    def norm(z: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(z, (16,), w[f"{name}.weight"], w[f"{name}.bias"])

    def convolve(z: torch.Tensor, name: str) -> torch.Tensor:
        theta, bias = w[f"{name}.0.weight"], w[f"{name}.0.bias"]
        summed = sum(a @ (z @ t.T + b) for a, t, b in zip(graph, theta, bias, strict=True))
        mean, variance = w[f"{name}.1.running_mean"], w[f"{name}.1.running_var"]
        return ((summed - mean) / (variance + 1e-5).sqrt() * w[f"{name}.1.weight"] + w[f"{name}.1.bias"]).relu()

    z = x @ w["start.weight"].T + w["start.bias"]
    z = z + w["blocks.0.position"]
    normed = norm(z, "blocks.0.encoder.norm1")
    query, key, value = (normed @ part.T for part in w["blocks.0.encoder.attention.query_key_value.weight"].chunk(3))
    heads = [slice(start, start + 2) for start in range(0, 16, 2)]
    read = [(query[..., h] @ key[..., h].transpose(1, 2) / 4).softmax(dim=-1) @ value[..., h] for h in heads]
    out = "blocks.0.encoder.attention.out"
    z = z + torch.cat(read, dim=-1) @ w[f"{out}.weight"].T + w[f"{out}.bias"]
    mlp = "blocks.0.encoder.mlp"
    hidden = F.gelu(norm(z, "blocks.0.encoder.norm2") @ w[f"{mlp}.0.weight"].T + w[f"{mlp}.0.bias"])
    z = z + hidden @ w[f"{mlp}.2.weight"].T + w[f"{mlp}.2.bias"]
    y = convolve(z, "blocks.0.graph.first")
    y = norm(y + convolve(y, "blocks.0.graph.second"), "norm")
    torch.testing.assert_close(network(x), y @ w["head.weight"].T + w["head.bias"], atol=1e-5, rtol=1e-5)


def randomise(network: nn.Module) -> None:
    """Give norms and biases values other than those that they start with."""
    generator = torch.Generator().manual_seed(3)
    for value in network.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)


def test_multiply_adds_are_the_published_ones_and_of_plain_and_sparse_layers_their_weights() -> None:
    counted = count_multiply_adds(Lifter(LifterConfig("ampose", in_channels=2)))
    assert counted.weights == 311_994_880
    assert counted.weights < counted.products < 1.03 * counted.weights
    for name in ("fcn", "lcn"):
        lifter = Lifter(LifterConfig(name, width=16)).train()
        matrices = sum(p.numel() for n, p in lifter.named_parameters() if n.endswith("weight") and p.ndim > 1)
        counted = count_multiply_adds(lifter)
        assert counted.weights == counted.products == matrices
        assert lifter.training


@pytest.mark.parametrize("name", LIFTERS)
@pytest.mark.parametrize("skeleton", [H36M17, H36M16, COCO17, TRIANGLE], ids=lambda s: s.name)
def test_every_network_works_for_every_skeleton(name: str, skeleton: Skeleton) -> None:
    network, x = small(name, skeleton), joints(keypoints=skeleton.num_keypoints)
    features = network.embed(x)
    assert features.shape == (5, network.num_positions, network.channels)
    assert network.coordinates(features, x).shape == (5, skeleton.num_keypoints, 3)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LIFTERS)
def test_every_network_learns_what_any_graph_can_say(name: str) -> None:
    """Turned means of a joint and its neighbours."""
    network, x = small(name).train(), joints(16)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    target = torch.from_numpy(vanilla_adjacency(H36M17)) @ x @ turn
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(30):
        loss = (network(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert loss < 0.6 * target.square().mean()


@pytest.mark.parametrize("name", ["gcn", "gcn_decoupled", "gcn_conv", "stgcn"])
def test_a_skeleton_in_another_order_gives_the_pose_in_that_order(name: str) -> None:
    """Weights that all joints share know no order; the graph does."""
    order = np.random.default_rng(0).permutation(17)
    where = np.argsort(order)
    moved = Skeleton(
        "moved",
        tuple(H36M17.keypoint_names[i] for i in order),
        tuple((int(where[a]), int(where[b])) for a, b in H36M17.edges),
        tuple((int(where[a]), int(where[b])) for a, b in H36M17.flip_pairs),
    )
    network, other, x = small(name), small(name, moved), joints()
    state = network.state_dict()
    if name == "stgcn":
        # It alone normalises each joint's input by itself.
        for key, value in state.items():
            if key.startswith("input_norm") and value.ndim:
                state[key] = value.view(17, 3)[order].flatten()
    other.load_state_dict(state)
    torch.testing.assert_close(other(x[:, order]), network(x)[:, order], atol=1e-5, rtol=1e-5)


def test_what_single_networks_do_as_published() -> None:
    lcn, stgcn, x = small("lcn"), build_trunk("stgcn", H36M17, 2), joints()
    nn.init.zeros_(lcn.head.edges[0].weight)
    nn.init.zeros_(lcn.head.bias)
    torch.testing.assert_close(lcn(x), torch.cat([x[..., :2], torch.zeros(5, 17, 1)], dim=-1))
    assert stgcn.input_norm.eps == 0.1
    assert not any(stgcn.non_local.norm.weight)


def test_bad_networks_are_refused() -> None:
    for name, options, message in (
        ("hscf", {}, "unknown network 'hscf'; nearest: hcsf"),
        ("lcn", {"reach": 2}, "network lcn has no option reach; its options: hops"),
        ("stgcn", {"depth": 3}, "stgcn has a fixed number of blocks; leave depth out, got 3"),
        ("gcn", {"width": 0}, "network gcn: width must be at least 1, got 0"),
        ("gcn", {"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ("attention", {"width": 10}, "width 10 must divide by its 8 heads"),
        ("dhcsf", {"frames": 2}, "odd number of frames, got 2"),
        ("hcsf", {"frames": 3}, "frames is 3, but a static graph"),
    ):
        with pytest.raises(ValueError, match=message):
            build_trunk(name, H36M17, **options)
