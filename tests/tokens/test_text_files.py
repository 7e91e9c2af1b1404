"""Files of text: a table written as lines and read again is the same table; lines that are no poses are named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_codec import TOKENIZER, encode, make_ordered, read, write_arrays

from pct.tokens import TokenFileError, TokenReader, table_to_text, text_to_table
from pct.tokens.codec import encode_file

ORDERED = make_ordered()
COARSE_FINE = make_ordered(layout="coarse_fine", coarse_width=8)


def test_a_table_as_text_and_back_is_the_same_table(tmp_path) -> None:
    table, text, again = tmp_path / "tokens.parquet", tmp_path / "t.txt", tmp_path / "again.parquet"
    encode(write_arrays(tmp_path / "in.npz"), model_name="tiny")
    assert table_to_text(table, text) == 6
    assert text_to_table(TOKENIZER, text, again, "tiny", like=table) == 6
    assert again.read_bytes() == table.read_bytes()
    text_to_table(TOKENIZER, text, again, force=True)
    tokens = read(again)
    np.testing.assert_array_equal(tokens.indices, read(table).indices)
    assert tokens.annotation_ids.tolist() == [0, 1, 2, 3, 4, 5]
    units = TOKENIZER.decode(torch.from_numpy(tokens.indices))
    pixels = TOKENIZER.decode(torch.from_numpy(tokens.indices), torch.from_numpy(tokens.bbox))
    np.testing.assert_allclose(pixels, (units + 1) * 128, atol=1e-3)


def test_text_that_does_not_fit_is_named_by_its_line(tmp_path) -> None:
    table, text, again = tmp_path / "tokens.parquet", tmp_path / "t.txt", tmp_path / "again.parquet"
    encode(write_arrays(tmp_path / "in.npz"))
    table_to_text(table, text)
    lines = text.read_text().splitlines()
    for wrong, like, sentence in (
        ([*lines[:2], "", "hello"], None, "line 4, character 0: expected <pose>"),
        ([lines[0], "<pose><p1></pose>"], None, "line 2 has 1 tokens and line 1 has 4; all must have as many"),
        ([lines[0], "<pose><p1><p2><p3><p32></pose>"], None, "line 2, character 18: id 32 is outside the codebook"),
        (lines[:3], table, "more poses than the 3 lines"),
        ([*lines, lines[0]], table, "only 6 poses, fewer than the lines"),
        ([], None, "no poses"),
    ):
        text.write_text("\n".join(wrong))
        with pytest.raises(TokenFileError, match=sentence):
            text_to_table(TOKENIZER, text, again, like=like)
        assert not again.exists()


def test_lines_of_prefixes_make_a_table_of_prefixes(tmp_path) -> None:
    table, text, again = tmp_path / "tokens.parquet", tmp_path / "t.txt", tmp_path / "again.parquet"
    encode_file(ORDERED, write_arrays(tmp_path / "in.npz"), table)
    assert table_to_text(table, text, num_tokens=3) == 6
    assert all(line.count("<p") == 3 + 1 for line in text.read_text().splitlines())
    assert text_to_table(ORDERED, text, again, like=table) == 6
    with TokenReader(again) as reader:
        assert (reader.metadata.prefix, reader.metadata.num_tokens) == (3, 6)
        np.testing.assert_array_equal(reader.read().indices, read(table).indices[:, :3])
    assert table_to_text(again, text, force=True) == 6
    text_to_table(ORDERED, text, again, num_tokens=2, force=True)
    np.testing.assert_array_equal(read(again).indices, read(table).indices[:, :2])


@pytest.mark.parametrize(
    ("model", "lines", "num_tokens", "sentence"),
    [
        (TOKENIZER, ["<pose><p1><p2></pose>"], None, "line 1 has 2 tokens; a pose of this model has 4, and needs all"),
        (COARSE_FINE, ["<pose><p1><p2></pose>"], None, "line 1 has 2 tokens; a pose of this model has 3 to 6"),
        (ORDERED, ["", "<pose></pose>"], None, "line 2 has 0 tokens; a pose of this model has 1 to 6"),
        (ORDERED, ["<pose>" + "<p1>" * 7 + "</pose>"], None, "line 1 has 7 tokens; a pose of this model has 1 to 6"),
        (ORDERED, ["<pose><p1><p2></pose>", "<pose><p1></pose>"], None, "line 2 has 1 tokens and line 1 has 2"),
        (ORDERED, ["<pose><p1><p2></pose>"], 3, "3 tokens a pose are asked for; a pose of this file has 1 to 2"),
        (ORDERED, ["<pose><p0_1><p2_2></pose>"], None, "line 1, character 12: expected <p1_...>, found '<p2_2>'"),
    ],
)
def test_lines_of_a_wrong_length_are_named(tmp_path, model, lines, num_tokens, sentence) -> None:
    (tmp_path / "t.txt").write_text("\n".join(lines))
    with pytest.raises(TokenFileError, match=sentence):
        text_to_table(model, tmp_path / "t.txt", tmp_path / "t.parquet", num_tokens=num_tokens)
    assert not (tmp_path / "t.parquet").exists()


def test_only_tables_of_ordered_tokens_are_written_in_part(tmp_path) -> None:
    table, text = tmp_path / "tokens.parquet", tmp_path / "t.txt"
    encode(write_arrays(tmp_path / "in.npz"))
    with pytest.raises(TokenFileError, match=r"tokens\.parquet: 2 tokens a pose .* needs all: they are not ordered"):
        table_to_text(table, text, num_tokens=2)
    encode_file(ORDERED, tmp_path / "in.npz", table, num_tokens=3, force=True)
    with pytest.raises(TokenFileError, match="4 tokens a pose are asked for; a pose of this file has 1 to 3"):
        table_to_text(table, text, num_tokens=4)
    assert not text.exists()
