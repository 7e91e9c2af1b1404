"""Tests of the evaluation and its report, on random tiny tokenizers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from pct.data.poses import PoseTable
from pct.evaluation.codebook import CodebookStatistics, measure_anatomy, nearest_entries, random_other_entries
from pct.evaluation.crop_codec import CropCodec
from pct.evaluation.report import check_report_folder, evaluate_tokenizer, run_evaluation, write_report
from pct.evaluation.results import TokenizerEvaluation
from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, CROWDPOSE14


def _tokenizer(space: PoseSpace | None = None) -> PoseTokenizer:
    torch.manual_seed(0)
    config = TokenizerConfig(
        space=space or PoseSpace(),
        num_tokens=6,
        codebook_size=16,
        codebook_dim=8,
        encoder="mlp",
        encoder_width=16,
        encoder_blocks=1,
        decoder_width=8,
        decoder_token_hidden=8,
    )
    return PoseTokenizer(config).eval()


def _table(n: int = 40, seed: int = 0) -> PoseTable:
    g = torch.Generator().manual_seed(seed)
    base = torch.rand(17, 2, generator=torch.Generator().manual_seed(9)) * 100
    keypoints = base + 8 * torch.randn(n, 17, 2, generator=g) + 300 * torch.rand(n, 1, 2, generator=g)
    visible = torch.rand(n, 17, generator=g) < 0.85
    visible[:, 0] = True
    low, high = keypoints.amin(dim=1), keypoints.amax(dim=1)
    return PoseTable(
        COCO17,
        torch.where(visible[..., None], keypoints, 0.0),
        visible,
        torch.cat([low, high - low], dim=1),
        (high - low).prod(dim=1) / 2,
        torch.arange(n) // 2,
        torch.arange(n) + 100,
    )


@pytest.fixture(scope="module")
def evaluation() -> TokenizerEvaluation:
    return evaluate_tokenizer(_tokenizer(), _table(), _table(200, seed=1), data="<made> up", notes=["A & B"])


@pytest.fixture(scope="module")
def report(evaluation: TokenizerEvaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a written report."""
    return write_report(evaluation, tmp_path_factory.mktemp("evaluation") / "report").parent


class _Perfect(PoseTokenizer):
    """Returns the poses it was given: its tokens are the row numbers."""

    def encode(self, keypoints, visible=None, bbox=None, features=None):  # type: ignore[no-untyped-def]
        super().encode(keypoints, visible, bbox)
        self.kept = keypoints.clone()
        rows = torch.arange(len(keypoints))
        return torch.stack([rows % 16, rows // 16 % 16, rows // 256, rows * 0, rows * 0, rows * 0], dim=1)

    def decode(self, indices, bbox=None):  # type: ignore[no-untyped-def]
        row = (indices[:, 0] + 16 * indices[:, 1] + 256 * indices[:, 2]) % len(self.kept)
        return torch.nan_to_num(self.kept[row])


def test_perfect_reconstruction_has_ap_one_and_error_zero() -> None:
    result = evaluate_tokenizer(_Perfect(_tokenizer().config).eval(), _table()).reconstruction
    assert (result.coco.ap, result.mean_oks, result.error.mean) == (1, 1, 0)
    assert set(result.pck.values()) == {1}


def test_errors_are_pixels_of_the_crop_whatever_the_units_and_the_image_scale() -> None:
    table = _table()
    tokenizer = _tokenizer()
    large = replace(table, keypoints=table.keypoints * 4, bbox=table.bbox * 4, area=table.area * 16)
    one, two = evaluate_tokenizer(tokenizer, table), evaluate_tokenizer(tokenizer, large)
    assert one.reconstruction.error.mean == pytest.approx(two.reconstruction.error.mean, rel=1e-4)
    assert one.reconstruction.mean_oks == pytest.approx(two.reconstruction.mean_oks, rel=1e-4)
    indices = tokenizer.encode(table.keypoints, table.visible, table.bbox)
    moved = (tokenizer.decode(indices, table.bbox) - table.keypoints).norm(dim=-1)
    by_hand = moved / (table.bbox[:, 2:].amax(dim=1) * 1.25)[:, None] * 256
    assert one.reconstruction.error.mean == pytest.approx(float(by_hand[table.visible].mean()), rel=1e-4)


@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_crop_codec_gives_the_tokens_and_joints_of_the_tokenizer(units: str) -> None:
    table, tokenizer = _table(), _tokenizer(PoseSpace(units=units, crop_size=192))  # type: ignore[arg-type]
    codec = CropCodec(tokenizer)
    crop = codec.to_crop(table.keypoints, table.bbox)
    assert crop[table.visible].min() >= 0
    assert crop[table.visible].max() <= 192
    indices = codec.encode(crop, table.visible)
    assert torch.equal(indices, tokenizer.encode(table.keypoints, table.visible, table.bbox))
    decoded = codec.to_crop(tokenizer.decode(indices, table.bbox), table.bbox)
    assert torch.allclose(codec.decode(indices), decoded, atol=1e-2)


def test_evaluation_is_the_same_twice(evaluation: TokenizerEvaluation) -> None:
    again = evaluate_tokenizer(_tokenizer(), _table(), _table(200, seed=1))
    for name in ("reconstruction", "completion", "codebook", "anatomy"):
        assert getattr(again, name) == getattr(evaluation, name)


def test_completion_has_both_baselines_or_says_that_it_has_none(evaluation: TokenizerEvaluation) -> None:
    rows = evaluation.completion.rows
    assert [row.hidden for row in rows] == ["1", "2", "3", "4", "5", "6", "7", "8", "lower body"]
    assert all(set(row.errors) == {"tokenizer", "ridge", "mean pose"} for row in rows)
    alone = evaluate_tokenizer(_tokenizer(), _table())
    assert set(alone.completion.rows[0].errors) == {"tokenizer"}
    assert alone.completion.num_baseline_poses == 0
    assert alone.completion.rows[0].errors["tokenizer"] == rows[0].errors["tokenizer"]


def test_codebook_statistics_by_hand() -> None:
    indices = torch.tensor([[0, 3], [1, 3], [0, 3], [1, 3]])
    book = CodebookStatistics.of(indices, 4)
    assert book.counts == [2, 2, 0, 4]
    assert [use.entropy_bits for use in book.positions] == pytest.approx([1.0, 0.0])
    assert book.bits_per_pose == pytest.approx(1.0)
    assert book.most_bits_per_pose == 4
    assert book.use.entropy_bits == pytest.approx(1.5)
    assert book.use.usage == 0.75


def test_anatomy_finds_the_joint_of_a_token() -> None:
    codebook = torch.tensor([[0.0], [1.0], [5.0]])

    def decode(indices: torch.Tensor) -> torch.Tensor:
        """Token m moves joint m alone, along x."""
        x = codebook[indices, 0]
        return torch.stack([x, torch.zeros_like(x)], dim=-1)

    indices = torch.tensor([[0, 2], [1, 2]])
    assert nearest_entries(codebook, indices).tolist() == [[1, 1], [0, 1]]
    assert (random_other_entries(indices, 3, seed=0) != indices).all()
    anatomy = measure_anatomy(indices, codebook, decode)
    assert anatomy.nearest == [[1.0, 0.0], [0.0, 4.0]]
    assert anatomy.random[0][1] == anatomy.random[1][0] == 0


def test_report_is_written_and_not_overwritten(evaluation: TokenizerEvaluation, report: Path, tmp_path: Path) -> None:
    metrics = json.loads((report / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["reconstruction"]["coco"]["ap"] == evaluation.reconstruction.coco.ap
    assert metrics["provenance"]["fingerprint"] == _tokenizer().fingerprint()
    assert len(metrics["completion"]["rows"]) == 9
    before = (report / "index.html").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="force"):
        write_report(evaluation, report)
    assert (report / "index.html").stat().st_mtime_ns == before
    check_report_folder(report, force=True)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="is a file"):
        write_report(evaluation, tmp_path / "file", force=True)


class _Balance(HTMLParser):
    """Checks that every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_stands_alone_and_escapes_names(evaluation: TokenizerEvaluation, report: Path) -> None:
    html = (report / "index.html").read_text(encoding="utf-8")
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    assert "<script" not in html
    assert not re.search(r'(src|href)="(?!data:)', html)
    for words in ("<made> up", "A & B", evaluation.provenance.fingerprint, "ridge regression", "lower body"):
        assert words in parser.text
    names = {path.stem for path in (report / "pictures").iterdir()}
    assert names >= {"typical", "worst", "completions", "completion", "codebook_use", "token_anatomy", "variations"}
    assert html.count("<figure>") == len(names)


def test_pictures_are_not_blank(report: Path) -> None:
    import cv2

    for path in (report / "pictures").iterdir():
        picture = cv2.imread(str(path)).astype(int)
        assert ((picture.max(axis=-1) - picture.min(axis=-1)) > 60).sum() > 200, path.name


def test_poses_that_do_not_fit_are_refused() -> None:
    table = _table()
    tokenizer = _tokenizer()
    with pytest.raises(ValueError, match="crowdpose14"):
        evaluate_tokenizer(PoseTokenizer(replace(tokenizer.config, skeleton=CROWDPOSE14)).eval(), table)
    with pytest.raises(ValueError, match="root3d"):
        evaluate_tokenizer(PoseTokenizer(replace(tokenizer.config, space=PoseSpace("root3d"))).eval(), table)
    with pytest.raises(ValueError, match="guided"):
        evaluate_tokenizer(PoseTokenizer(replace(tokenizer.config, guidance_channels=4, joint_width=8)).eval(), table)
    with pytest.raises(ValueError, match="no test poses"):
        evaluate_tokenizer(tokenizer, table.select(torch.zeros(40, dtype=torch.bool)))


def _write_coco(path: Path, table: PoseTable, estimated: int) -> Path:
    flags = torch.where(table.visible, 2.0, 0.0)[..., None]
    annotations = [
        {
            "id": int(table.annotation_ids[i]),
            "image_id": int(table.image_ids[i]),
            "category_id": 1,
            "iscrowd": 0,
            "keypoints": torch.cat([table.keypoints[i], flags[i]], dim=1).flatten().tolist(),
            "num_keypoints": int(table.visible[i].sum()),
            "bbox": table.bbox[i].tolist(),
            "area": float(table.area[i]),
            "area_estimated": i < estimated,
        }
        for i in range(len(table))
    ]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names), "skeleton": []}
    images = [{"id": int(i)} for i in table.image_ids.unique()]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [category]}), encoding="utf-8"
    )
    return path


def test_bad_annotations_are_left_out_and_told_of(tmp_path: Path) -> None:
    path = _write_coco(tmp_path / "val.json", _table(), estimated=0)
    content = json.loads(path.read_text())
    content["annotations"][0]["bbox"] = [1, 2, 0, 4]
    content["annotations"][1]["id"] = "two"
    path.write_text(json.dumps(content))
    stages: list[str] = []
    result = run_evaluation(_tokenizer(), path, tmp_path / "out", progress=stages.append)
    assert result.reconstruction.num_poses == len(content["annotations"]) - 2
    assert result.provenance.notes[0].startswith("2 bad annotations were left out; the first: ")
    assert "skipped 2 bad annotations" in stages[0]


def test_run_evaluation_reads_files_and_tells_of_estimated_areas(tmp_path: Path) -> None:
    test_file = _write_coco(tmp_path / "val.json", _table(), estimated=3)
    train_file = _write_coco(tmp_path / "train.json", _table(100, seed=1), estimated=0)
    stages: list[str] = []
    result = run_evaluation(_tokenizer(), test_file, tmp_path / "out", train_file, limit=39, progress=stages.append)
    assert any(re.search("[23] of 39 persons", note) for note in result.provenance.notes)
    assert any("Only 39" in note for note in result.provenance.notes)
    assert result.reconstruction.num_poses == 39
    assert (result.provenance.data, result.provenance.baseline_data) == ("val.json", "train.json")
    assert (tmp_path / "out" / "index.html").is_file()
    assert stages
    with pytest.raises(FileExistsError):
        run_evaluation(_tokenizer(), test_file, tmp_path / "out")
