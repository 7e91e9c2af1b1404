"""Tables of the first tokens of each pose: written, described and decoded; what does not decode is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bodies import write_bodies
from tiny_codec import TOKENIZER, cut_table, make_ordered, read, write_arrays

from pct.drawing.gallery import draw_gallery
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.tokens import TokenFileError, TokenReader
from pct.tokens.codec import decode_file, encode_file
from pct.tokens.describe import describe_token_file

MODELS = {
    "residual": make_ordered(),
    "coarse_fine": make_ordered(layout="coarse_fine", coarse_width=8),
    "3D": make_ordered(skeleton=H36M17, space=PoseSpace(kind="root3d")),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("length", [3, 5, 6])
def test_prefixes_go_from_file_to_tokens_to_file(tmp_path, name, length) -> None:
    model, table = MODELS[name], tmp_path / "t.parquet"
    source = (write_bodies if name == "3D" else write_arrays)(tmp_path / "in.npz")
    encode_file(model, source, tmp_path / "whole.parquet", model_name=name)
    encode_file(model, source, table, model_name=name, num_tokens=length, batch_size=4)
    tokens, whole = read(table), read(tmp_path / "whole.parquet")
    np.testing.assert_array_equal(tokens.indices, whole.indices[:, :length])
    np.testing.assert_array_equal(tokens.reference, whole.reference)
    decode_file(model, table, tmp_path / "out.npz", batch_size=4)
    expected = model.decode(torch.from_numpy(whole.indices[:, :length]), torch.from_numpy(whole.reference))
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["keypoints"], expected, rtol=1e-5, atol=1e-4)
    values = describe_token_file(table)
    assert (values["tokens_per_pose"], values["num_tokens"]) == (length, 6)
    with TokenReader(table) as reader:
        assert reader.metadata.prefix == (None if length == 6 else length)
    assert draw_gallery(model, table, 1).std() > 1


@pytest.mark.parametrize(
    ("model", "held", "sentence"),
    [
        (TOKENIZER, 3, "the first 3 of 4 tokens of each pose; .* needs all 4, since its tokens are not ordered"),
        (MODELS["coarse_fine"], 2, "holds the first 2 of 6 tokens of each pose; to decode .* needs at least 3"),
    ],
)
def test_tables_that_hold_too_little_do_not_decode(tmp_path, model, held, sentence) -> None:
    encode_file(model, write_arrays(tmp_path / "in.npz"), tmp_path / "cut.parquet")
    table = cut_table(tmp_path / "cut.parquet", held)
    assert len(read(table)) == 6
    for work in (lambda: decode_file(model, table, tmp_path / "out.npz"), lambda: draw_gallery(model, table)):
        with pytest.raises(TokenFileError, match=sentence):
            work()
    assert not (tmp_path / "out.npz").exists()
