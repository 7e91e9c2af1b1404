"""Which pose is meant, which row of the table it is, and what is compared: the search of files in Python."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_codec import make_ordered, make_tokenizer, person, write_arrays, write_json

from pct.tokens import PoseTokens, TokenWriter
from pct.tokens.codec import decode_file, describe_model, encode_file
from pct.tokens.search_files import draw_found, search_table

ORDERED = make_ordered()


def encode(path):
    """Six poses, the last two alike, and their token table."""
    keypoints = np.random.default_rng(0).uniform(10, 200, (6, 3, 2))
    keypoints[5] = keypoints[4]
    source = write_arrays(path / "in.npz", keypoints=keypoints, visible=None)
    return encode_file(ORDERED, source, path / "t.parquet").path


def test_an_id_may_be_a_number_or_text(tmp_path) -> None:
    table = encode(tmp_path)
    for like in (40, "40", " 40 ", "+40"):
        found = search_table(ORDERED, table, like, count=2)
        assert (found.query["row"], found.found[0]["annotation_id"], found.found[0]["score"]) == (4, 50, 0)
        assert found.indices.shape == (3, 6)


def test_a_pose_of_equal_tokens_is_the_query_itself_only_with_its_ids(tmp_path) -> None:
    table = encode(tmp_path)
    arrays = dict(np.load(tmp_path / "in.npz"))
    last = {name: array[5:] for name, array in arrays.items()}
    np.savez(tmp_path / "last.npz", **last)
    assert search_table(ORDERED, table, tmp_path / "last.npz").query["row"] == 5
    np.savez(tmp_path / "last.npz", **{**last, "image_ids": np.array([99])})
    assert search_table(ORDERED, table, tmp_path / "last.npz").query["row"] is None
    np.savez(tmp_path / "last.npz", **{**last, "keypoints": 210 - last["keypoints"]})
    assert search_table(ORDERED, table, tmp_path / "last.npz").query["row"] is None


def test_a_table_of_one_pose_has_nothing_else_to_find(tmp_path) -> None:
    encode_file(ORDERED, write_json(tmp_path / "one.json", [person(3)]), tmp_path / "one.parquet")
    found = search_table(ORDERED, tmp_path / "one.parquet", 3)
    assert found.to_dict()["found"] == []
    assert len(found.as_lines().splitlines()) == 1
    pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    assert draw_found(ORDERED, found).std() > 1


def test_the_first_good_pose_of_a_file_is_taken(tmp_path) -> None:
    table = encode(tmp_path)
    bad = [person(i, bbox=[0, 0, 0, 0]) for i in range(1, 100)]
    found = search_table(ORDERED, table, write_json(tmp_path / "late.json", [*bad, person(100)]))
    assert (found.query["annotation_id"], found.notes) == (100, ())
    found = search_table(ORDERED, table, write_json(tmp_path / "two.json", [*bad, person(100), *bad, person(101)]))
    (note,) = found.notes
    assert note.endswith("two.json: more than one pose; the first, annotation 100, is taken")


def test_a_guided_model_decodes_and_searches_for_rows_but_not_for_files(tmp_path) -> None:
    source, guided = write_arrays(tmp_path / "in.npz"), make_tokenizer(guidance_channels=4)
    tokens = PoseTokens(np.arange(24).reshape(6, 4), np.ones((6, 4), np.float32), *np.zeros((2, 6), int))
    with TokenWriter(tmp_path / "t.parquet", describe_model(guided)) as writer:
        writer.write(tokens)
    assert search_table(guided, tmp_path / "t.parquet", 0).query["row"] == 0
    assert decode_file(guided, tmp_path / "t.parquet", tmp_path / "out.npz") == 6
    with pytest.raises(ValueError, match="needs image features beside the joints"):
        search_table(guided, tmp_path / "t.parquet", source)
