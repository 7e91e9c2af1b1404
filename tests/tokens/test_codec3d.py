"""3D poses through the codec: places, ids and order stay from file to tokens to file; what does not fit is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bodies import bodies, make_tokenizer_3d, write_bodies, write_mocap
from tiny_codec import TOKENIZER, read, write_arrays, write_json

from pct.drawing.gallery import draw_gallery
from pct.files.output import OutputError
from pct.files.pose_files import PoseFileError, count_poses, read_poses
from pct.skeleton import H36M16, H36M17
from pct.tokens.codec import decode_file, encode_file
from pct.tokens.metadata import TokenFileError
from pct.tokens.table import TokenReader, TokenWriter
from pct.tokens.text_files import table_to_text, text_to_table

MODEL = make_tokenizer_3d()


def encode(source, out=None, **options):
    return encode_file(MODEL, source, out or source.with_name("tokens.parquet"), **options)


@pytest.mark.parametrize("batch_size", [5, 100])
def test_poses_come_back_where_they_stood(tmp_path, batch_size) -> None:
    source = write_bodies(tmp_path / "in.npz")
    assert count_poses(source) == 12
    summary = encode(source, batch_size=batch_size)
    assert (summary.poses, summary.skipped.total(), summary.notes) == (12, 0, [])
    decode_file(MODEL, tmp_path / "tokens.parquet", tmp_path / "out.npz", batch_size=batch_size)
    first, out = np.load(source), np.load(tmp_path / "out.npz")
    assert sorted(out.files) == ["annotation_ids", "image_ids", "keypoint_names", "keypoints"]
    for name in ("image_ids", "annotation_ids", "keypoint_names"):
        np.testing.assert_array_equal(out[name], first[name])
    tokens, root = read(tmp_path / "tokens.parquet"), first["keypoints"][:, 0]
    np.testing.assert_array_equal(tokens.reference, root)
    keypoints, visible = torch.from_numpy(first["keypoints"]), torch.from_numpy(first["visible"])
    indices = MODEL.encode(keypoints, visible)
    np.testing.assert_array_equal(tokens.indices, indices)
    np.testing.assert_array_equal(out["keypoints"], MODEL.decode(indices, torch.from_numpy(root)))


def test_where_a_person_stands_does_not_change_the_tokens(tmp_path) -> None:
    keypoints = bodies(6) * np.array([1, -1, -1], np.float32)
    moved = keypoints.astype(np.float64) + np.array([500, -250, 4000])
    encode(write_bodies(tmp_path / "a.npz", 6, keypoints=keypoints), tmp_path / "a.parquet")
    encode(write_bodies(tmp_path / "b.npz", 6, keypoints=moved), tmp_path / "b.parquet")
    a, b = read(tmp_path / "a.parquet"), read(tmp_path / "b.parquet")
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_allclose(b.reference - a.reference, np.tile([500, -250, 4000], (6, 1)), atol=1e-2)


def test_mocap_is_turned_into_the_axes_of_cameras(tmp_path) -> None:
    write_mocap(tmp_path / "mocap.npz", (5, 7, 2, 2))
    assert count_poses(tmp_path / "mocap.npz") == 16
    keypoints = bodies(16) * np.array([1, -1, -1], np.float32)
    write_bodies(tmp_path / "same.npz", 16, keypoints=keypoints, visible=None)
    encode(tmp_path / "mocap.npz", tmp_path / "a.parquet", batch_size=6)
    encode(tmp_path / "same.npz", tmp_path / "b.parquet")
    a, b = read(tmp_path / "a.parquet"), read(tmp_path / "b.parquet")
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_array_equal(a.reference, b.reference)
    assert a.image_ids.tolist() == [0] * 5 + [1] * 7 + [2] * 2 + [3] * 2
    assert a.annotation_ids.tolist() == list(range(16))


@pytest.mark.parametrize(("factor", "unit"), [(0.001, "metres"), (0.1, "centimetres")])
def test_another_unit_is_refused_with_both_readings(tmp_path, factor, unit) -> None:
    keypoints = bodies(12) * np.array([1, -1, -1]) * factor
    with pytest.raises(PoseFileError, match=rf"read as millimetres .* mm, read as {unit} [345]\d\d mm"):
        encode(write_bodies(tmp_path / "in.npz", keypoints=keypoints))
    assert not (tmp_path / "tokens.parquet").exists()


def test_swapped_sides_and_axes_are_noted_but_encoded(tmp_path) -> None:
    upright = bodies(60) * np.array([1, -1, -1])
    cases = {
        "fine": (upright, []),
        "swapped": (upright[:, H36M17.flip_index], ["left and right seem to be swapped"]),
        "mirrored": (upright * np.array([1, 1, -1]), ["or the poses mirrored"]),
        "upside down": (bodies(60), ["stand on their heads: y must point down"]),
    }
    for name, (keypoints, notes) in cases.items():
        source = write_bodies(tmp_path / f"{name}.npz", 60, keypoints=keypoints, visible=None)
        summary = encode(source, force=True, batch_size=30)
        assert summary.poses == 60
        assert len(summary.notes) == len(notes), name
        assert all(part in note for part, note in zip(notes, summary.notes, strict=True))


def test_files_that_do_not_fit_are_named(tmp_path) -> None:
    names = np.array(H36M16.keypoint_names)
    for changes, sentence in (
        ({"keypoints": bodies(12)[..., :2]}, "these are 2D poses, and the model.s are 3D; skeleton h36m17"),
        ({"keypoints": np.delete(bodies(12), 9, axis=1), "visible": None}, r"shape \(12, 17, 3\)|\(12, 16, 3\)"),
        ({"keypoint_names": names}, "has the 16 joints of h36m16; .* skeleton h36m17 has the 17 joints"),
        ({"visibel": np.ones((12, 17)), "visible": None}, "did you mean 'visible'"),
        ({"keypoints": bodies(1)[:0]}, "no poses"),
    ):
        with pytest.raises(ValueError, match=sentence):
            encode(write_bodies(tmp_path / "in.npz", **changes))
    with pytest.raises(ValueError, match=r"a \.json file holds 2D poses, and the model's are 3D; give a \.npz"):
        encode(write_json(tmp_path / "coco.json", []))
    with pytest.raises(PoseFileError, match=r"the 17 joints of h36m17.* skeleton h36m16"):
        next(read_poses(write_mocap(tmp_path / "m.npz"), H36M16, root=0))
    with pytest.raises(PoseFileError, match="motion capture, 3D poses; it needs a 3D model"):
        encode_file(TOKENIZER, tmp_path / "m.npz", tmp_path / "t.parquet")


def test_bad_poses_are_skipped_and_named(tmp_path) -> None:
    keypoints = bodies(12) * np.array([1, -1, -1])
    visible = np.ones((12, 17), bool)
    keypoints[1, 4] = np.nan
    keypoints[2, 13] += 5000
    visible[3, 1:] = False
    keypoints[4, 5], visible[4, 5] = np.nan, False
    visible[5, 0] = False
    np.savez(tmp_path / "in.npz", keypoints=keypoints, visible=visible)
    said: list[str] = []
    summary = encode(tmp_path / "in.npz", report=said.append)
    assert summary.poses == 8
    assert [s.split(": ", 1)[1].split(",")[0] for s in said] == [
        "row 1: joint left_hip is [nan",
        "row 2: the bone from left_elbow to left_wrist is over 2000 mm long; nobody has such a one",
        "row 3: no joint but hip is known",
        "row 5: joint hip",
    ]
    assert read(tmp_path / "tokens.parquet").annotation_ids.tolist() == [0, 4, *range(6, 12)]


def test_tables_of_the_other_kind_and_json_are_refused(tmp_path) -> None:
    encode(write_bodies(tmp_path / "in.npz"))
    table = tmp_path / "tokens.parquet"
    with pytest.raises(OutputError, match=r"COCO files hold 2D poses and the model's are 3D; write them to a \.npz"):
        decode_file(MODEL, table, tmp_path / "out.json")
    encode_file(TOKENIZER, write_arrays(tmp_path / "2d.npz"), tmp_path / "2d.parquet")
    with (
        TokenReader(table) as reader,
        pytest.raises(TokenFileError, match="is one of 3D poses; it cannot take 2D poses"),
        TokenWriter(tmp_path / "mixed.parquet", reader.metadata) as writer,
    ):
        writer.write(read(tmp_path / "2d.parquet"))


def test_text_keeps_the_tokens_and_takes_places_from_a_table(tmp_path) -> None:
    encode(write_bodies(tmp_path / "in.npz"))
    table, lines = tmp_path / "tokens.parquet", tmp_path / "poses.txt"
    assert table_to_text(table, lines) == 12
    assert text_to_table(MODEL, lines, tmp_path / "like.parquet", like=table) == 12
    assert text_to_table(MODEL, lines, tmp_path / "bare.parquet") == 12
    first, like, bare = (read(tmp_path / f"{n}.parquet") for n in ("tokens", "like", "bare"))
    for name in ("indices", "reference", "image_ids", "annotation_ids"):
        np.testing.assert_array_equal(getattr(like, name), getattr(first, name))
    np.testing.assert_array_equal(bare.indices, first.indices)
    assert not bare.reference.any()
    assert bare.annotation_ids.tolist() == list(range(12))


def test_pictures_of_poses_and_of_tokens(tmp_path) -> None:
    source = write_bodies(tmp_path / "in.npz", 3)
    encode(source)
    plain, both = (draw_gallery(MODEL, source, 2, reconstruct) for reconstruct in (False, True))
    decoded = draw_gallery(MODEL, tmp_path / "tokens.parquet", 2)
    assert plain.shape == both.shape == decoded.shape
    assert (plain != both).any()
    assert (decoded != both).any()
