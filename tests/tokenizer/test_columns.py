"""Rows of poses to rows of tokens and back, as plain columns and through Hugging Face datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bodies import bodies
from tiny_codec import make_ordered, make_tokenizer

from pct.geometry import bbox_from_keypoints
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17

TOKENIZER = make_tokenizer()
POSES = np.random.default_rng(0).uniform(10, 200, (6, 3, 2)).astype(np.float32)
VISIBLE = np.array([[1, 1, 2], [2, 0, 1]] * 3)
BOXES = np.array([[5, 5, 200, 220.0]] * 6, np.float32)
COLUMNS = {"keypoints": POSES, "visible": VISIBLE, "bbox": BOXES}


def nested(array: np.ndarray) -> np.ndarray:
    """Arrays of arrays, as Arrow gives nested lists."""
    if array.ndim == 1:
        return array
    out = np.empty(len(array), object)
    out[:] = [nested(row) for row in array]
    return out


FORMS = {
    "arrays": lambda a: a,
    "lists": lambda a: a.tolist(),
    "list of arrays": list,
    "tensors": torch.from_numpy,
    "arrays of arrays": nested,
}


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_any_form_give_the_tokens_of_encode(form: str) -> None:
    found = TOKENIZER.encode_columns({name: FORMS[form](column) for name, column in COLUMNS.items()})
    wanted = TOKENIZER.encode(torch.from_numpy(POSES), torch.from_numpy(VISIBLE > 0), torch.from_numpy(BOXES))
    assert set(found) == {"tokens", "fingerprint"}
    np.testing.assert_array_equal(found["tokens"], wanted.numpy())
    assert found["fingerprint"] == [TOKENIZER.fingerprint()] * 6
    decoded = TOKENIZER.decode_columns({**COLUMNS, **found})["keypoints"]
    np.testing.assert_array_equal(decoded, TOKENIZER.decode(wanted, torch.from_numpy(BOXES)).numpy())


def test_a_missing_box_is_made_of_the_known_joints_and_kept() -> None:
    poses = POSES.tolist()
    poses[1][1] = [None, None]
    found = TOKENIZER.encode_columns({"keypoints": poses})
    known = torch.ones(6, 3, dtype=torch.bool)
    known[1, 1] = False
    boxes = bbox_from_keypoints(torch.from_numpy(POSES), known)
    np.testing.assert_array_equal(found["bbox"], boxes.numpy())
    np.testing.assert_array_equal(found["tokens"], TOKENIZER.encode(torch.from_numpy(POSES), known, boxes).numpy())
    assert TOKENIZER.decode_columns(found)["keypoints"].shape == (6, 3, 2)


def test_3d_poses_keep_their_root() -> None:
    tokenizer = make_ordered(skeleton=H36M17, space=PoseSpace(kind="root3d"))
    poses = bodies(5)
    found = tokenizer.encode_columns({"keypoints": poses})
    np.testing.assert_array_equal(found["root"], poses[:, 0])
    indices = tokenizer.encode(torch.from_numpy(poses))
    np.testing.assert_array_equal(found["tokens"], indices.numpy())
    wanted = tokenizer.decode(indices, torch.from_numpy(poses[:, 0]))
    np.testing.assert_array_equal(tokenizer.decode_columns(found)["keypoints"], wanted.numpy())


def test_datasets_map_both_ways_and_the_fingerprint_survives_parquet(tmp_path) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the package datasets")
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({name: column.tolist() for name, column in COLUMNS.items()})
    made = rows.map(TOKENIZER.encode_columns, batched=True, batch_size=4, remove_columns=["keypoints", "visible"])
    made.to_parquet(tmp_path / "tokens.parquet")
    again = datasets.Dataset.from_parquet(str(tmp_path / "tokens.parquet"), cache_dir=str(tmp_path / "cache"))
    assert set(again.column_names) == {"bbox", "tokens", "fingerprint"}
    np.testing.assert_array_equal(np.array(again["tokens"]), TOKENIZER.encode_columns(COLUMNS)["tokens"])
    decoded = again.map(TOKENIZER.decode_columns, batched=True)
    wanted = TOKENIZER.decode_columns({**COLUMNS, **TOKENIZER.encode_columns(COLUMNS)})["keypoints"]
    np.testing.assert_array_equal(np.array(decoded["keypoints"], np.float32), wanted)
    with pytest.raises(ValueError, match="row 0 holds tokens of another model"):
        again.map(make_tokenizer(seed=1).decode_columns, batched=True)


TOKENS = {**TOKENIZER.encode_columns(COLUMNS), "bbox": BOXES}
BAD = {
    "no keypoints": ("encode", {"bbox": BOXES}, "no column 'keypoints'; they have 'bbox'"),
    "ragged": (
        "encode",
        {**COLUMNS, "keypoints": [[[1, 2]], [[1, 2], [3, 4]]]},
        "column 'keypoints' must hold numbers",
    ),
    "words": ("encode", {**COLUMNS, "bbox": ["a"] * 6}, "column 'bbox' must hold numbers"),
    "flat": ("encode", {**COLUMNS, "keypoints": POSES.reshape(6, -1)}, r"column 'keypoints' has shape \(6, 6\)"),
    "nothing known": ("encode", {**COLUMNS, "visible": VISIBLE * 0}, "row 0 has no known joint"),
    "no fingerprint": ("decode", {"tokens": TOKENS["tokens"], "bbox": BOXES}, "no column 'fingerprint'"),
    "no box": ("decode", {n: TOKENS[n] for n in ("tokens", "fingerprint")}, "no column 'bbox'"),
    "another model": ("decode", {**TOKENS, "fingerprint": ["0" * 16] * 6}, "another model, with fingerprint 0000"),
    "id too large": ("decode", {**TOKENS, "tokens": TOKENS["tokens"] + 32}, "ids of this codebook go from 0 to 31"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_columns_are_one_sentence(case: str) -> None:
    direction, columns, words = BAD[case]
    with pytest.raises(ValueError, match=words):
        getattr(TOKENIZER, f"{direction}_columns")(columns)
