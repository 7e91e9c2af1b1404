"""Token tables: what is written is read again, and what is broken is named."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_codec import read, rewrite

from pct.files.parquet import ParquetError
from pct.skeleton import COCO17, CROWDPOSE14
from pct.tokens.metadata import TokenFileError, TokenMetadata
from pct.tokens.table import PoseTokens, TokenReader, TokenWriter, is_token_file

COLUMNS = ("indices", "bbox", "image_ids", "annotation_ids", "area")


def metadata(codebook_size: int = 32, num_tokens: int = 3, **changes) -> TokenMetadata:
    values = {"model": "tiny", "fingerprint": "0" * 16, "skeleton": COCO17, "space": {"padding": 1.25}, **changes}
    values.setdefault("shortest_prefix", num_tokens)
    return TokenMetadata(codebook_size=codebook_size, num_tokens=num_tokens, **values)


def poses(count: int, codebook_size: int = 32, num_tokens: int = 3, seed: int = 0) -> PoseTokens:
    rng = np.random.default_rng(seed)
    return PoseTokens(
        rng.integers(0, codebook_size, (count, num_tokens)),
        rng.uniform(1, 500, (count, 4)).astype(np.float32),
        rng.integers(-(2**63), 2**63, count),
        rng.integers(-(2**63), 2**63, count),
        np.where(rng.random(count) < 0.5, np.nan, rng.uniform(1, 9, count)).astype(np.float32),
    )


def write(path: Path, tokens: PoseTokens, about: TokenMetadata | None = None) -> Path:
    with TokenWriter(path, about or metadata()) as writer:
        writer.write(tokens)
    return path


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 60),
    sizes=st.sampled_from([(1, 1), (32, 3), (1024, 34), (65_536, 2), (70_000, 5)]),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    batch_size=st.integers(1, 70),
    seed=st.integers(0, 999),
)
def test_a_table_read_is_the_table_written(count, sizes, cuts, batch_size, seed) -> None:
    tokens, about = poses(count, *sizes, seed), metadata(*sizes, skeleton=CROWDPOSE14)
    edges = [0, *sorted(min(c, count) for c in cuts), count]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.parquet"
        with TokenWriter(path, about) as writer:
            for start, stop in itertools.pairwise(edges):
                writer.write(PoseTokens(*(getattr(tokens, c)[start:stop] for c in COLUMNS)))
        with TokenReader(path) as reader:
            assert reader.metadata == about
            assert len(reader) == count
            pieces = list(reader.batches(batch_size))
            again = reader.read()
    assert all(0 < len(piece) <= batch_size for piece in pieces)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(again, name), getattr(tokens, name))
        joined = [getattr(piece, name) for piece in pieces]
        if joined:
            np.testing.assert_array_equal(np.concatenate(joined), getattr(tokens, name))


def test_the_columns_are_what_a_data_frame_shows(tmp_path) -> None:
    table = pq.read_table(write(tmp_path / "t.parquet", poses(5)))
    assert table.column_names == ["image_id", "annotation_id", "bbox", "area", "tokens"]
    assert table.schema.field("tokens").type == pa.list_(pa.uint16(), 3)
    assert table.schema.field("bbox").type == pa.list_(pa.float32(), 4)
    assert table.column("area").null_count == int(np.isnan(poses(5).area).sum())


def test_many_small_batches_make_few_row_groups(tmp_path) -> None:
    with TokenWriter(tmp_path / "t.parquet", metadata()) as writer:
        for _ in range(200):
            writer.write(poses(100))
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_table_that_was_not_finished(tmp_path, error) -> None:
    def fail() -> None:
        with TokenWriter(tmp_path / "t.parquet", metadata()) as writer:
            writer.write(poses(20_000))
            assert len(list(tmp_path.iterdir())) == 1
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_replaced_only_by_force_and_only_when_it_is_whole(tmp_path) -> None:
    path = write(tmp_path / "t.parquet", poses(4))
    with pytest.raises(FileExistsError, match="--force"), TokenWriter(path, metadata()):
        pytest.fail("nothing is to be written")
    before = path.read_bytes()
    with pytest.raises(TokenFileError), TokenWriter(path, metadata(), force=True) as writer:
        writer.write(poses(4, codebook_size=900))
    assert path.read_bytes() == before
    with TokenWriter(path, metadata(), force=True) as writer:
        writer.write(poses(9))
    assert len(read(path)) == 9


def test_ids_outside_the_codebook_are_neither_written_nor_read(tmp_path) -> None:
    tokens = poses(5000, codebook_size=8)
    for value in (32, -1):
        tokens.indices[4999, 2] = value
        with pytest.raises(
            TokenFileError, match=f"token 2 of row 4999 is {value}; ids of this codebook go from 0 to 31"
        ):
            write(tmp_path / "t.parquet", tokens)
        assert list(tmp_path.iterdir()) == []
    tokens.indices[4999, 2] = 31
    path = rewrite(write(tmp_path / "t.parquet", tokens), codebook_size=8)
    with pytest.raises(TokenFileError, match=r"t\.parquet: token 2 of row 4999 is 31; ids .* from 0 to 7"):
        read(path)


def test_tables_of_version_1_are_read_and_their_rows_written_as_version_2(tmp_path) -> None:
    path = write(tmp_path / "old.parquet", poses(5))
    rewrite(path, format_version=1, prefix=..., shortest_prefix=...)
    with TokenReader(path) as reader:
        assert reader.metadata == metadata(format_version=1)
        assert (reader.metadata.tokens_per_pose, reader.metadata.shortest_prefix) == (3, 3)
        again = write(tmp_path / "new.parquet", reader.read(), reader.metadata)
    with TokenReader(again) as reader:
        assert reader.metadata == metadata()
        np.testing.assert_array_equal(reader.read().indices, poses(5).indices)


def test_a_table_of_prefixes_holds_the_first_tokens(tmp_path) -> None:
    whole = metadata(num_tokens=6, shortest_prefix=2)
    about, tokens = whole.with_prefix(4), poses(9, num_tokens=6)
    assert (about.num_tokens, about.prefix, about.tokens_per_pose) == (6, 4, 4)
    with pytest.raises(TokenFileError, match="6 tokens a pose; this table holds the first 4"):
        write(tmp_path / "t.parquet", tokens, about)
    path = write(tmp_path / "t.parquet", tokens.first_tokens(4), about)
    assert pq.read_table(path).schema.field("tokens").type == pa.list_(pa.uint16(), 4)
    with TokenReader(path) as reader:
        assert reader.metadata == about
        found = reader.read()
    np.testing.assert_array_equal(found.indices, tokens.indices[:, :4])
    np.testing.assert_array_equal(found.bbox, tokens.bbox)


def test_a_prefix_that_a_model_does_not_decode_is_not_made() -> None:
    whole = metadata(num_tokens=6, shortest_prefix=2)
    assert whole.with_prefix(None) is whole.with_prefix(6) is whole
    for length in (0, 1, 7):
        with pytest.raises(ValueError, match=f"{length} tokens a pose are asked for; .* this model has 2 to 6"):
            whole.with_prefix(length)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"codebook_size": 0}, "codebook_size as 0"),
        ({"codebook_size": 2**30}, "codebook_size as 1073741824; it must be an integer from 1 to 16777216"),
        ({"num_tokens": "34"}, "num_tokens as '34'"),
        ({"num_tokens": True}, "num_tokens as True"),
        ({"shortest_prefix": None}, "shortest_prefix as None"),
        ({"shortest_prefix": 4}, "shortest_prefix as 4; it must be an integer from 1 to 3"),
        ({"prefix": 0}, "prefix as 0; it must be an integer from 1 to 3"),
        ({"prefix": 2.0}, "prefix as 2.0"),
        ({"skeleton": {"name": "x"}}, "no skeleton"),
        ({"skeleton": 3}, "no skeleton"),
        ({"colour": "red"}, "colour"),
        ({"format_version": 1}, "metadata has the keys .*'prefix'"),
        *(
            ({"format_version": version}, f"format version {version!r}; this version of pct reads 1 to 2")
            for version in (0, 3, "1", True, 1.0, None)
        ),
    ],
)
def test_broken_metadata_is_named(tmp_path, changes, sentence) -> None:
    path = rewrite(write(tmp_path / "t.parquet", poses(2)), **changes)
    with pytest.raises(TokenFileError, match=sentence):
        TokenReader(path)


@pytest.mark.parametrize("text", ["{", "[1]", "\\xff"])
def test_metadata_that_is_no_json_object_is_named(tmp_path, text) -> None:
    path = write(tmp_path / "t.parquet", poses(2))
    pq.write_table(pq.read_table(path).replace_schema_metadata({"pct": text}), path)
    with pytest.raises(TokenFileError, match=r"t\.parquet: (the metadata|token table of format version None)"):
        TokenReader(path)


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("tokens", pa.array([[0, 1, 2], [3, -7, 5]], pa.list_(pa.int32(), 3)), "token 1 of row 1 is -7"),
        ("tokens", pa.array([[1, 2, 3], None], pa.list_(pa.uint16())), "row 1 has 0 numbers in tokens; it must have 3"),
        ("tokens", pa.array([[1, 2, 3], [1, 2]], pa.list_(pa.uint16())), "row 1 has 2 numbers in tokens"),
        ("tokens", pa.array([[1.0, 2.0, 3.0]] * 2), "tokens holds .*; it must hold integers"),
        ("tokens", pa.array(["1 2 3"] * 2), "tokens.* holds string"),
        ("bbox", pa.array([[1.0, 1, 1, 1], [1, 1, 0, 1]]), "bbox of row 1 is .*; its size must be positive"),
        ("image_id", pa.array([1, None]), "row 1 has 0 numbers in image_id"),
        ("bbox", ..., "no column 'bbox'; the file has image_id, annotation_id, area, tokens"),
    ],
)
def test_broken_rows_are_named(tmp_path, column, values, sentence) -> None:
    path = rewrite(write(tmp_path / "t.parquet", poses(2)), columns={column: values})
    with pytest.raises((TokenFileError, ParquetError), match=sentence):
        read(path)


def test_any_truncation_is_an_error_and_never_other_tokens(tmp_path) -> None:
    path = write(tmp_path / "t.parquet", poses(300))
    data = path.read_bytes()
    for length in [*range(0, 40), *range(40, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ParquetError, match=r"t\.parquet: (the file is empty|truncated)"):
            read(path)


def test_a_flipped_bit_never_gives_other_tokens(tmp_path) -> None:
    tokens = poses(300)
    path = write(tmp_path / "t.parquet", tokens)
    data = path.read_bytes()
    errors = 0
    for position in range(4, len(data) // 2, 211):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            np.testing.assert_array_equal(read(path).indices, tokens.indices)
        except (ParquetError, TokenFileError):
            errors += 1
    assert errors > 5


def test_what_is_no_token_table_is_refused(tmp_path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(TokenFileError, match="no token table"):
        TokenReader(tmp_path / "other.parquet")
    assert not is_token_file(tmp_path / "other.parquet")
    assert is_token_file(write(tmp_path / "t.parquet", poses(2)))
    with pytest.raises(ParquetError, match="this is a folder"):
        TokenReader(tmp_path)
    with pytest.raises(ParquetError, match="no such file"):
        TokenReader(tmp_path / "nothing.parquet")
