"""Graph layers: the one formula, sparse against dense weights, hop-wise layers, joints in another order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pct.lifting.edge_linear import EdgeLinear
from pct.lifting.graph_conv import GraphConv
from pct.lifting.hop_conv import HopSqueeze
from pct.lifting.joint_groups import ampose_groups, hop_sets, lcn_structure
from pct.skeleton import H36M17

GROUPS = ampose_groups(H36M17)


def poses(count: int = 6, channels: int = 5) -> torch.Tensor:
    return torch.randn(count, 17, channels, generator=torch.Generator().manual_seed(0))


def thetas(layer: GraphConv) -> torch.Tensor:
    """Weights of every group, target and source (G, K, K, in, out), whatever they depend on."""
    size, groups = 17, layer.num_groups
    shape = (groups, size, size, layer.in_channels, layer.out_channels)
    if layer.sharing == "pair":
        theta = torch.zeros(shape)
        for group, edge in enumerate(layer.edges):
            theta[group][tuple(torch.from_numpy(edge.edges).T)] = edge.weight.detach()
        return theta
    weight = layer.weight.detach()
    if layer.sharing == "all":
        return weight.transpose(1, 2)[:, None, None].expand(shape)
    if layer.sharing == "source":
        return weight.unflatten(2, (groups, -1)).permute(2, 0, 1, 3)[:, None].expand(shape)
    return weight.unflatten(1, (groups, -1)).transpose(0, 1)[:, :, None].expand(shape)


def masked(layer: EdgeLinear, x: torch.Tensor, gains: torch.Tensor | None = None) -> torch.Tensor:
    """The published computation: one matrix for all pairs of joints, with zeros where there is no edge."""
    dense = torch.zeros(17, layer.in_channels, 17, layer.out_channels)
    for number, (target, source) in enumerate(layer.edges):
        factor = 1.0 if gains is None else gains[number]
        dense[source, :, target] = layer.weight[number] * factor
    return (x.flatten(1) @ dense.flatten(2).flatten(0, 1)).unflatten(1, (17, -1))


@pytest.mark.parametrize("sharing", ["all", "source", "target", "pair"])
@pytest.mark.parametrize("bias", ["none", "channel", "joint", "group"])
def test_every_sharing_is_the_one_formula(sharing: str, bias: str) -> None:
    torch.manual_seed(0)
    layer, x = GraphConv(5, 4, GROUPS, sharing, bias), poses()
    adjacency = torch.from_numpy(GROUPS)
    expected = torch.einsum("kij,bjc,kijcd->bid", adjacency, x, thetas(layer))
    if bias == "group":
        expected = expected + torch.einsum("kij,kd->id", adjacency, layer.bias)
    elif layer.bias is not None:
        expected = expected + layer.bias
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sharing", ["all", "source", "target", "pair"])
def test_joints_in_another_order_give_the_result_in_that_order(sharing: str) -> None:
    torch.manual_seed(0)
    order = np.random.default_rng(0).permutation(17)
    layer, x = GraphConv(5, 4, GROUPS, sharing), poses()
    moved = GraphConv(5, 4, GROUPS[:, order][:, :, order], sharing)
    state = layer.state_dict()
    if sharing in ("source", "target"):
        state["weight"] = state["weight"][order]
    if sharing == "pair":
        all_thetas = thetas(layer)[:, order][:, :, order]
        for group, edge in enumerate(moved.edges):
            state[f"edges.{group}.weight"] = all_thetas[group][tuple(edge.edges.T)]
    moved.load_state_dict(state)
    torch.testing.assert_close(moved(x[:, order]), layer(x)[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 130, 300])
@pytest.mark.parametrize("channels", [(3, 20), (20, 20), (20, 3)])
@pytest.mark.parametrize("hops", [1, 3])
def test_sparse_weights_do_what_masked_dense_ones_do(count: int, channels: tuple[int, int], hops: int) -> None:
    torch.manual_seed(0)
    sparse = EdgeLinear(*channels, lcn_structure(H36M17, hops))
    x, gains = poses(count, channels[0]), torch.rand(len(sparse.edges))
    plain, weighted = masked(sparse, x), masked(sparse, x, gains)
    torch.testing.assert_close(sparse(x), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sparse(x, gains), weighted, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sparse(x, gains.expand(count, -1)), weighted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [2, 9])
def test_gradients_of_sparse_weights_are_those_of_dense_ones(count: int) -> None:
    sparse = EdgeLinear(20, 18, lcn_structure(H36M17, 2))
    x = poses(count, 20)
    (expected,) = torch.autograd.grad(masked(sparse, x).square().sum(), sparse.weight)
    sparse(x).square().sum().backward()
    torch.testing.assert_close(sparse.weight.grad, expected, atol=1e-3, rtol=1e-4)


def test_a_joint_without_sources_gets_nothing() -> None:
    mask = np.zeros((17, 17), dtype=bool)
    mask[3, 5] = True
    layer = EdgeLinear(20, 20, mask)
    for count in (2, 9):
        y = layer(poses(count, 20))
        assert not y[:, np.arange(17) != 3].any()
        torch.testing.assert_close(y[:, 3], poses(count, 20)[:, 5] @ layer.weight[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("reach", [1, 3])
def test_hop_wise_layer_with_no_far_hops_and_no_fusion_is_locally_connected(reach: int) -> None:
    torch.manual_seed(0)
    hops = hop_sets(H36M17, reach)
    squeezed = HopSqueeze(5, 4, hops, short=reach)
    squeezed.fuse = torch.nn.Identity()
    local = GraphConv(5, 4, hops.any(axis=0)[None].astype(np.float32), "pair", "none")
    local.edges[0].load_state_dict(squeezed.edges[0].state_dict())
    torch.testing.assert_close(squeezed(poses()), local(poses()), atol=1e-5, rtol=1e-5)


def test_far_hops_get_ever_fewer_channels() -> None:
    layer = HopSqueeze(5, 64, hop_sets(H36M17, 8), short=2, decay=0.25)
    assert layer.widths == [64, 16, 4, 1, 1, 1, 1]
    assert HopSqueeze(5, 64, hop_sets(H36M17, 3), short=1, decay=1.0).widths == [64, 64, 64]


def test_what_is_beyond_the_longest_hop_is_not_seen() -> None:
    layer, x = HopSqueeze(5, 4, hop_sets(H36M17, 2), short=1), poses()
    changed = x.clone()
    changed[:, 16] += 1
    moved = (layer(changed) - layer(x)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == (H36M17.hops[16] <= 2).tolist()


def test_a_dynamic_graph_starts_as_the_static_one_and_then_follows_the_pose() -> None:
    torch.manual_seed(0)
    layer, x = HopSqueeze(5, 4, hop_sets(H36M17, 3), graph_width=8), poses()
    static = HopSqueeze(5, 4, hop_sets(H36M17, 3))
    static.load_state_dict({name: v for name, v in layer.state_dict().items() if not name.startswith("dynamic")})
    torch.testing.assert_close(layer(x), static(x))
    torch.nn.init.constant_(layer.dynamic.alpha, 0.5)
    added = layer.dynamic(x)
    assert added.abs().max() <= 0.5
    assert (added[0] - added[1]).abs().max() > 0.01
    # One pose at a time or many: another path, the same result.
    torch.testing.assert_close(layer(x), torch.cat([layer(pose[None]) for pose in x]), atol=1e-5, rtol=1e-5)
    layer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="sharing is 'both'"):
        GraphConv(5, 4, GROUPS, "both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"groups must be \(G, K, K\)"):
        GraphConv(5, 4, GROUPS[0])
    with pytest.raises(ValueError, match="from 0 to 2, the longest; got 3"):
        HopSqueeze(5, 4, hop_sets(H36M17, 2), short=3)
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\], got 1.5"):
        HopSqueeze(5, 4, hop_sets(H36M17, 2), decay=1.5)
