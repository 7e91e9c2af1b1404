"""PoseTokenizer: encode and decode agree with forward, unknown joints do no harm, gradients, saving, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_tokenizers import COARSE_FINE, KINDS, RESIDUAL, TINY, image_poses, make, model_poses
from torch import Tensor

from pct import PoseSpace, PoseTokenizer, TokenizerConfig, checkpoint
from pct.checkpoint import CheckpointError
from pct.layers.losses import keypoint_loss


def test_public_calls_equal_forward(tokenizer: PoseTokenizer) -> None:
    """encode gives forward's tokens, decode gives forward's poses, in the units of the image."""
    keypoints, visible, features = model_poses(tokenizer.config, 30)
    image, _, where, _ = image_poses(tokenizer.config, 30)
    with torch.no_grad():
        output = tokenizer(keypoints, visible, features)
    indices = tokenizer.encode(image, visible, where, features)
    assert float((indices == output.indices).float().mean()) > 0.99  # the way through the image rounds coordinates
    torch.testing.assert_close(tokenizer.decode(output.indices), output.keypoints, atol=1e-5, rtol=0)
    expected = tokenizer.space.restore(output.keypoints, where)
    torch.testing.assert_close(tokenizer.decode(output.indices, where), expected, atol=1e-2, rtol=0)
    one_hot = torch.nn.functional.one_hot(output.indices, tokenizer.config.codebook_size).float()
    torch.testing.assert_close(tokenizer.decode_soft(one_hot), output.keypoints, atol=1e-5, rtol=0)


def test_moving_and_scaling_the_image_keeps_the_tokens() -> None:
    tokenizer = make(COARSE_FINE)
    image, visible, bbox, _ = image_poses(COARSE_FINE, 30)
    tokens = tokenizer.encode(image, visible, bbox)
    moved = tokenizer.encode(image * 2 + 64, visible, torch.cat([bbox[:, :2] * 2 + 64, bbox[:, 2:] * 2], dim=1))
    assert float((tokens == moved).float().mean()) > 0.99


def test_unknown_joints_may_hold_anything(tokenizer: PoseTokenizer) -> None:
    """Neither tokens nor poses nor gradients see them, NaN and infinity included, and they are filled in."""
    where = image_poses(tokenizer.config, 12)[2]

    def run(fill: float) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        keypoints, visible, features = model_poses(tokenizer.config, 12)
        keypoints = torch.where(visible[..., None], keypoints, fill)
        if features is not None:
            features = torch.where(visible[..., None], features, fill)
        tokenizer.zero_grad()
        output = tokenizer(keypoints, visible, features)
        loss = keypoint_loss(output.keypoints, keypoints, visible, 0.01) + output.commitment_loss
        loss.backward()
        gradients = {n: p.grad.clone() for n, p in tokenizer.named_parameters() if p.grad is not None}
        indices = tokenizer.encode(tokenizer.space.restore(keypoints, where), visible, where, features)
        return indices, output.keypoints.detach(), gradients

    expected_indices, expected, expected_gradients = run(0.0)
    assert torch.isfinite(tokenizer.decode(expected_indices, where)).all()
    for fill in (float("nan"), float("inf"), 1e9):
        indices, keypoints, gradients = run(fill)
        assert torch.equal(indices, expected_indices)
        assert torch.equal(keypoints, expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected_gradients[name], msg=name)


def test_every_parameter_learns(tokenizer: PoseTokenizer) -> None:
    keypoints, visible, features = model_poses(tokenizer.config, 12)
    output = tokenizer.train()(keypoints, visible, features)
    loss = keypoint_loss(output.keypoints, keypoints, visible, 0.01) + output.commitment_loss + output.codebook_loss
    loss.backward()
    still = [n for n, p in tokenizer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


def test_saved_and_loaded_is_the_same(tokenizer: PoseTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path / "model", card="# card")
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert loaded.config == tokenizer.config
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert not loaded.training
    inputs = model_poses(tokenizer.config, 12)
    with torch.no_grad():
        assert torch.equal(loaded(*inputs).keypoints, tokenizer(*inputs).keypoints)
    assert (tmp_path / "model" / "README.md").read_text() == "# card"


def test_fingerprints_name_weights_and_config() -> None:
    tokenizer = make(TINY)
    same, other_space = make(TINY), replace(TINY, space=PoseSpace(padding=1.5))
    assert same.fingerprint() == tokenizer.fingerprint()
    names = {tokenizer.fingerprint(), make(TINY, seed=1).fingerprint(), make(other_space).fingerprint()}
    with torch.no_grad():
        same.decoder.to_coordinates.bias[0] += 1e-3
    assert len(names | {same.fingerprint()}) == 4
    # Only settings that differ from the defaults count, and no buffer that only training needs.
    values = {name: value for name, value in vars(TINY).items() if value != vars(TokenizerConfig())[name]}
    saved = {n: t for n, t in tokenizer.state_dict().items() if "ema_" not in n and "updates" not in n}
    assert tokenizer.fingerprint() == checkpoint.fingerprint(values, saved)


@pytest.mark.parametrize("kind", ["parallel", "coarse_fine", "residual"])
def test_eight_poses_can_be_learnt_by_heart(kind: str) -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(replace(KINDS[kind], encoder_width=32, decoder_width=24)).train()
    keypoints, visible, _ = model_poses(TINY, 8)
    optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=5e-3, weight_decay=0.0)
    losses = []
    for _ in range(100):
        output = tokenizer(keypoints, visible)
        loss = keypoint_loss(output.keypoints, keypoints, visible, 0.01)
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        (loss + 0.25 * output.commitment_loss + output.codebook_loss).backward()
        optimiser.step()
    assert losses[-1] < 0.3 * losses[0], losses[-1] / losses[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(keypoints=a["keypoints"][:, :16]), r"keypoints must be \(B, 17, 2\) for skeleton coco17"),
        (lambda a: a.update(keypoints=a["keypoints"][0]), r"keypoints must be"),
        (lambda a: a["keypoints"][2, 5].fill_(float("nan")), "joint left_shoulder of row 2"),
        (lambda a: a["keypoints"][2, 5].fill_(float("inf")), "joint left_shoulder of row 2"),
        (lambda a: a["visible"][3].fill_(False), "pose of row 3 has no known joint"),
        (lambda a: a.update(visible=a["visible"][:, :5]), r"visible must be \(4, 17\)"),
        (lambda a: a["bbox"][1, 2:].fill_(0), "row 1"),
        (lambda a: a.update(bbox=a["bbox"][:3]), "3 boxes or root positions for 4 poses"),
        (lambda a: a.update(bbox=a["bbox"][:1]), "1 boxes or root positions for 4 poses"),
        (lambda a: a.update(bbox=None), "encode needs the person's bbox"),
        (lambda a: a.update(features=torch.zeros(4, 17, 3)), "takes no image features"),
    ],
)
def test_bad_poses_are_named(change, message: str) -> None:  # type: ignore[no-untyped-def]
    arguments: dict[str, Tensor | None] = {
        "keypoints": torch.rand(4, 17, 2) * 100,
        "visible": torch.ones(4, 17, dtype=torch.bool),
        "bbox": torch.tensor([[0.0, 0, 100, 100]]).repeat(4, 1),
    }
    change(arguments)
    with pytest.raises(ValueError, match=message):
        make(TINY).encode(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "indices", "message"),
    [
        (TINY, torch.zeros(2, 5, dtype=torch.int64), "5 tokens a pose; the tokens of this model are not ordered"),
        (TINY, torch.zeros(2, 7, dtype=torch.int64), "7 tokens a pose"),
        (TINY, torch.zeros(6, dtype=torch.int64), r"integers \(B, 6\)"),
        (TINY, torch.zeros(2, 6), r"integers \(B, 6\)"),
        (TINY, torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 64, 0, 0, 0]]), "token 2 of row 1 is 64"),
        (TINY, torch.tensor([[0, -1, 0, 0, 0, 0]]), "token 1 of row 0 is -1"),
        (COARSE_FINE, torch.zeros(1, 16, dtype=torch.int64), "16 tokens a pose; a prefix of this model has 17 to 34"),
    ],
)
def test_bad_tokens_are_named(config: TokenizerConfig, indices: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(config).decode(indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_another_precision_say_so(dtype: torch.dtype) -> None:
    tokenizer = make(TINY).to(dtype)
    for call in (
        lambda: tokenizer.encode(*image_poses(TINY, 2)),
        lambda: tokenizer.decode(torch.zeros(2, 6, dtype=torch.int64)),
        lambda: tokenizer.decode_soft(torch.full((2, 6, 64), 1 / 64)),
    ):
        with pytest.raises(ValueError, match=r"the weights are .*tokenizer\.float\(\)"):
            call()


def test_soft_decoding_is_float32_whatever_comes_in() -> None:
    tokenizer = make(TINY)
    indices = torch.randint(64, (3, 6), generator=torch.Generator().manual_seed(1))
    probs = torch.nn.functional.one_hot(indices, 64).float()
    expected = tokenizer.decode(indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tokenizer.decode_soft(probs), expected, rtol=0, atol=1e-5)
    for given in (probs.double(), probs.half(), probs.numpy(), probs.tolist()):
        torch.testing.assert_close(tokenizer.decode_soft(given), expected, rtol=0, atol=1e-5)


def test_a_guided_tokenizer_asks_for_features() -> None:
    with pytest.raises(ValueError, match=r"needs image features \(B, K, 5\)"):
        make(KINDS["guided"]).encode(torch.rand(1, 17, 2), None, torch.tensor([[0.0, 0, 1, 1]]))


def test_a_prefix_is_a_coarser_pose() -> None:
    tokenizer = make(RESIDUAL)
    keypoints, visible, _ = model_poses(RESIDUAL, 300)
    with torch.no_grad():
        indices = tokenizer(keypoints, torch.ones_like(visible)).indices
    errors = [(tokenizer.decode(indices[:, :m]) - keypoints).norm() for m in (1, 3, 6)]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("kind", ["coarse_fine", "residual", "3D coarse_fine", "3D residual"])
def test_forward_with_prefixes_equals_decoding_them(kind: str) -> None:
    tokenizer = make(KINDS[kind])
    keypoints, visible, _ = model_poses(tokenizer.config, 3)
    shortest, whole = tokenizer.shortest_prefix, tokenizer.config.num_tokens
    with torch.no_grad():
        output = tokenizer(keypoints, visible, prefix=torch.tensor([0.0, 0.5, 1.0]))
    for row, length in enumerate((shortest, shortest + round(0.5 * (whole - shortest)), whole)):
        decoded = tokenizer.decode(output.indices[row : row + 1, :length])
        torch.testing.assert_close(decoded, output.keypoints[row : row + 1], atol=1e-5, rtol=0)


def test_embeddings_are_the_vectors_of_the_ids(tokenizer: PoseTokenizer) -> None:
    """What a token sees of a pose is nearest to the embedding of its id."""
    table, config = tokenizer.embeddings(), tokenizer.config
    assert table.shape[:2] == (config.num_tokens, config.codebook_size)
    indices = torch.randint(64, (5, config.num_tokens), generator=torch.Generator().manual_seed(0))
    assert torch.equal(tokenizer.embed(indices)[3, 2], table[2, indices[3, 2]])
    if not config.guidance_channels:
        keypoints, visible, _ = model_poses(config, 9)
        seen = tokenizer.encode_whole(keypoints)
        nearest = torch.cdist(seen.transpose(0, 1), table).argmin(dim=-1).transpose(0, 1)
        with torch.no_grad():
            assert torch.equal(nearest, tokenizer(keypoints, torch.ones_like(visible)).indices)


def test_half_precision_weights_are_half_the_file(tmp_path: Path) -> None:
    tokenizer = make(COARSE_FINE)
    for name in ("whole", "half"):
        tokenizer.save_pretrained(tmp_path / name, half=name == "half")
    whole, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.65 * whole
    keypoints, visible, _ = model_poses(COARSE_FINE, 40)
    loaded = PoseTokenizer.from_pretrained(tmp_path / "half")
    with torch.no_grad():
        equal = loaded(keypoints, visible).indices == tokenizer(keypoints, visible).indices
    assert equal.double().mean() > 0.9
    assert loaded.embedding.mask_token.dtype == torch.float32


def test_training_goes_on_from_a_saved_model(tmp_path: Path) -> None:
    """Counts and sums are not saved; the entries stay where they are until they learn."""
    make(TINY).save_pretrained(tmp_path / "model")
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model").train()
    before = loaded.quantizer.embeddings()[0].clone()
    loaded(*model_poses(TINY, 40))
    after = loaded.quantizer.embeddings()[0]
    assert not torch.equal(before, after)
    kept = (after - before).norm(dim=1) < 0.5 * before.norm(dim=1)
    assert kept.double().mean() > 0.5


def _old_folder(folder: Path, **settings: object) -> Path:
    """A model folder as version 0.1 wrote it."""
    make(TINY).save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    state["quantizer.codebook_buffer"] = state.pop("quantizer.codebook.codebook_buffer")
    state["quantizer.ema_count"] = torch.ones(64)
    save_file(state, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    for name in ("layout", "limb_joints", "home_weight", "period", "fine_radius", "coarse_width"):
        del config[name]
    old = {"fill": "none", "fill_width": 512, "fill_blocks": 2, "encoder": "mixer", "joint_width": 16}
    (folder / "config.json").write_text(json.dumps({**config, **old, "decoder": "mixer", **settings}))
    return folder


def test_mixer_models_of_version_0_1_still_load(tmp_path: Path) -> None:
    loaded = PoseTokenizer.from_pretrained(_old_folder(tmp_path / "old"))
    inputs = model_poses(TINY, 12)
    with torch.no_grad():
        assert torch.equal(loaded(*inputs).keypoints, make(TINY)(*inputs).keypoints)


@pytest.mark.parametrize(
    "setting", [{"fill": "network"}, {"encoder": "mlp"}, {"decoder": "flat"}, {"quantizer": "quantile"}]
)
def test_deleted_kinds_of_models_name_the_version_that_reads_them(tmp_path: Path, setting: dict[str, str]) -> None:
    with pytest.raises(CheckpointError, match=r"of a kind of model that pct 0\.1 made and reads"):
        PoseTokenizer.from_pretrained(_old_folder(tmp_path / "old", **setting))


def test_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    make(TINY).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    for name, value in (("decoder.start.bias", None), ("extra", torch.zeros(1))):
        changed = {n: t for n, t in {**state, name: value}.items() if t is not None}
        save_file(changed, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=name):
            PoseTokenizer.from_pretrained(tmp_path)


FSQ = {"quantizer": "fsq", "codebook_dim": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**FSQ, "levels": (8, 8), "codebook_dim": 8}, "codebook of 64 x 2"),
        ({**FSQ, "levels": ()}, "codebook of 1 x 0"),
        ({**FSQ, "levels": (64, 1)}, "levels must be integers of at least 2"),
        ({**FSQ, "layout": "residual", "levels": (8, 8)}, "layout residual has a learned codebook"),
        ({"layout": "whole"}, "layout is 'whole'; allowed are parallel, coarse_fine, residual"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\)"),
        ({"period": 0.0}, "tokenizer period"),
        ({"limb_joints": 1}, "tokenizer limb_joints"),
        ({"period": float("inf")}, "tokenizer period"),
        ({"home_weight": True}, "tokenizer home_weight"),
    ],
)
def test_config_refuses_what_does_not_fit(changes: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        replace(TINY, **{"layout": "parallel" if "quantizer" in changes else "coarse_fine", **changes})


def test_config_goes_to_plain_values_and_back() -> None:
    assert TokenizerConfig.from_dict(TINY.to_dict()) == TINY
    with pytest.raises(ValueError, match="unknown keys: widht"):
        TokenizerConfig.from_dict({"widht": 3})
