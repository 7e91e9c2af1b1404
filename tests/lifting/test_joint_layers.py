"""Layers that mix joints: the one formula, sparse against dense weights, hop-wise layers, joints in another order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pct.lifting.joint_groups import ampose_groups, hop_sets, lcn_structure
from pct.lifting.joint_layers import EdgeLinear, GraphConv, HopSqueeze
from pct.skeleton import H36M17

GROUPS = ampose_groups(H36M17)


def poses(count: int = 6, channels: int = 5) -> torch.Tensor:
    return torch.randn(count, 17, channels, generator=torch.Generator().manual_seed(0))


def dense(edge: EdgeLinear) -> torch.Tensor:
    """Weights of every target and source (K, K, in, out), zeros where there is no edge."""
    theta = torch.zeros(17, 17, *edge.weight.shape[1:])
    theta[edge.targets, edge.sources] = edge.weight
    return theta


def thetas(layer: GraphConv) -> torch.Tensor:
    """Weights of every group, target and source (G, K, K, 5, 4), whatever they depend on."""
    shape = (3, 17, 17, 5, 4)
    if layer.sharing == "pair":
        return torch.stack([dense(edge) for edge in layer.edges]).detach()
    weight = layer.weight.detach()
    if layer.sharing == "all":
        return weight.transpose(1, 2)[:, None, None].expand(shape)
    if layer.sharing == "source":
        return weight.unflatten(2, (3, -1)).permute(2, 0, 1, 3)[:, None].expand(shape)
    return weight.unflatten(1, (3, -1)).transpose(0, 1)[:, :, None].expand(shape)


@pytest.mark.parametrize("sharing", ["all", "source", "target", "pair"])
@pytest.mark.parametrize("bias", ["channel", "joint", "group"])
def test_every_sharing_is_the_one_formula(sharing: str, bias: str) -> None:
    torch.manual_seed(0)
    layer, x, adjacency = GraphConv(5, 4, GROUPS, sharing, bias), poses(), torch.from_numpy(GROUPS)
    expected = torch.einsum("kij,bjc,kijcd->bid", adjacency, x, thetas(layer))
    added = torch.einsum("kij,kd->id", adjacency, layer.bias) if bias == "group" else layer.bias
    torch.testing.assert_close(layer(x), expected + added, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 300])
@pytest.mark.parametrize("mask", [lcn_structure(H36M17, 1), lcn_structure(H36M17), np.eye(17, k=3, dtype=bool)])
def test_sparse_weights_do_what_masked_dense_ones_do(count: int, mask: np.ndarray) -> None:
    """In the published computation: one matrix for all pairs of joints, with zeros where there is no edge."""
    torch.manual_seed(0)
    sparse = EdgeLinear(3, 20, mask)
    x, gains = poses(count, 3), torch.rand(len(sparse.targets))
    factors = torch.zeros(17, 17)
    factors[sparse.targets, sparse.sources] = gains
    expected = torch.einsum("ij,bjc,ijcd->bid", factors, x, dense(sparse))
    assert (expected == 0).all(dim=2).sum() == count * (~mask.any(axis=1)).sum()
    for given in (gains, gains.expand(count, -1)):
        torch.testing.assert_close(sparse(x, given), expected, atol=1e-5, rtol=1e-5)
    (wanted,) = torch.autograd.grad(expected.square().sum(), sparse.weight)
    (found,) = torch.autograd.grad(sparse(x, gains).square().sum(), sparse.weight)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("reach", [1, 3])
def test_hop_wise_layer_with_no_far_hops_and_no_fusion_is_locally_connected(reach: int) -> None:
    torch.manual_seed(0)
    hops = hop_sets(H36M17, reach)
    squeezed = HopSqueeze(5, 4, hops, short=reach)
    squeezed.fuse = torch.nn.Identity()
    local = GraphConv(5, 4, hops.any(axis=0)[None].astype(np.float32), "pair")
    local.edges[0].load_state_dict(squeezed.edges[0].state_dict())
    torch.testing.assert_close(squeezed(poses()) + local.bias, local(poses()), atol=1e-5, rtol=1e-5)


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
    torch.testing.assert_close(layer(x), torch.cat([layer(pose[None]) for pose in x]), atol=1e-5, rtol=1e-5)
    layer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_bad_arguments_are_refused() -> None:
    for make, message in (
        (lambda: GraphConv(5, 4, GROUPS, "both"), "sharing is 'both'"),
        (lambda: GraphConv(5, 4, GROUPS[0]), r"groups must be \(G, K, K\)"),
        (lambda: HopSqueeze(5, 4, hop_sets(H36M17, 2), short=3), "from 0 to 2, the longest; got 3"),
        (lambda: HopSqueeze(5, 4, hop_sets(H36M17, 2), decay=1.5), r"decay must be in \(0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
