"""The network of the page, run under node, against Python's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tiny_codec import make_tokenizer

from pct.explorer.packing import pack_numbers, pack_text
from pct.explorer.page import render_page
from pct.people.kinematics import generate_bodies
from pct.people.poses import body_joints, generate_poses
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.folding import FoldedTokenizer

RUNNER = Path(__file__).parents[2] / "benchmarks" / "explorer.js"
NODE = shutil.which("node")
# Characters that a page does not keep, or that could end a script.
UNSAFE = (0, 10, 13, 60)
needs_node = pytest.mark.skipif(NODE is None, reason="needs node")


def run_page(path: Path, joints: torch.Tensor, visible: torch.Tensor, prefix: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the ids (B, M) of poses (B, K, D), and what the first ``prefix`` decode to."""
    poses = {"joints": joints.flatten(1).tolist(), "visible": visible.tolist(), "prefix": prefix}
    done = subprocess.run([NODE, RUNNER, path], input=json.dumps(poses), capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    return torch.tensor(result["ids"]), torch.tensor(result["joints"]).view(joints.shape)


def some_poses(tokenizer: PoseTokenizer, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    if tokenizer.space.num_dims == 2:
        poses = generate_poses(count, tokenizer.skeleton, seed=5)
        return tokenizer.space.normalise(poses.keypoints, poses.bbox), poses.visible
    generator = torch.Generator().manual_seed(5)
    bodies = generate_bodies(count, generator)[:, body_joints(tokenizer.skeleton)]
    joints = tokenizer.space.normalise(bodies, bodies[:, tokenizer.space.root])
    return joints, torch.rand(joints.shape[:2], generator=generator) > 0.1


@needs_node
@pytest.mark.parametrize("name", ["coco17", "coco17-ordered", "h36m17"])
def test_shipped_models_give_pythons_ids_and_joints(pages, name) -> None:
    tokenizer, path = PoseTokenizer.from_pretrained(name), pages[name]
    assert path.stat().st_size < 4e6
    joints, visible = some_poses(tokenizer, 30)
    folded = FoldedTokenizer.of(tokenizer)
    expected = folded.encode(joints, visible)
    for prefix in (tokenizer.shortest_prefix, 34):
        ids, decoded = run_page(path, joints, visible, prefix)
        assert torch.equal(ids, expected)
        torch.testing.assert_close(decoded, folded.decode(expected[:, :prefix]), atol=1e-4, rtol=0)


@needs_node
@pytest.mark.parametrize(
    "changes",
    [
        {"layout": "parallel"},
        {"layout": "parallel", "space": PoseSpace(units="pixels")},
        {"layout": "coarse_fine", "num_tokens": 7, "space": PoseSpace(kind="root3d", root=1)},
        {"layout": "coarse_fine", "num_tokens": 6, "home_weight": 2.3, "space": PoseSpace(units="pixels")},
        {"layout": "residual", "num_tokens": 3, "decoder_blocks": 2},
    ],
)
def test_every_layout_runs(tmp_path, changes) -> None:
    """With weights that float16 does not hold, in every space, and with joints that are no numbers where unknown."""
    tokenizer = make_tokenizer(**changes)
    low, high = tokenizer.space.bounds
    generator = torch.Generator().manual_seed(1)
    # Entries of a model that was never trained are all alike.
    for name, buffer in tokenizer.named_buffers():
        if name.endswith("codebook_buffer"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator))
    joints = low + (high - low) * torch.rand((50, 3, tokenizer.space.num_dims), generator=generator)
    visible = torch.rand(50, 3, generator=generator) > 0.3
    visible[:, 0] = True
    path = tmp_path / "page.html"
    path.write_text(render_page(tokenizer, "tiny", []), encoding="utf-8", newline="")
    ids, decoded = run_page(path, torch.where(visible[..., None], joints, 1e9), visible, tokenizer.config.num_tokens)
    folded = FoldedTokenizer.of(tokenizer)
    assert torch.equal(ids, folded.encode(joints, visible))
    assert len(ids.unique()) > 3
    torch.testing.assert_close(decoded, folded.decode(ids), atol=1e-4 * (high - low), rtol=0)


@pytest.mark.parametrize("size", [0, 1, 2, 6, 7, 8, 1000])
def test_text_holds_every_byte_and_nothing_that_ends_a_script(size) -> None:
    data = bytes(torch.randint(256, (size,), generator=torch.Generator().manual_seed(size)).tolist()) + b"\0<\n\r" * 9
    text = pack_text(data)
    assert not set(text) & set(map(chr, UNSAFE))
    pairs = [[UNSAFE[(ord(c) >> 7) - 1], ord(c) & 127] if ord(c) > 127 else [ord(c)] for c in text]
    bits = "".join(f"{seven:07b}" for pair in pairs for seven in pair)
    assert bytes(int(bits[8 * i : 8 * i + 8].ljust(8, "0"), 2) for i in range(len(data))) == data


@pytest.mark.parametrize(("values", "width"), [([1.5, -0.25, 0.0], 2), ([0.1, 1.0], 4), ([1e6], 4), ([2.0**-24], 2)])
def test_numbers_are_16_bits_only_where_nothing_is_lost(values, width) -> None:
    assert pack_numbers([torch.tensor(values)]).number_bytes == width
