"""The explorer's page in a browser, as a person uses it, and the command that writes it."""

from __future__ import annotations

import pytest
import torch
from tiny_browser import open_page
from tiny_cli import expect_error, run, write_poses
from tiny_codec import make_tokenizer

from pct.explorer.page import example_poses, explore, render_page
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer
from pct.tokens.table import TokenReader


def ids_of(page) -> list[int]:
    return [int(text) for text in page.locator(".chips b").all_inner_texts()]


def place_of(page, joint: str) -> tuple[float, float]:
    """Where a joint lies in the window."""
    box = page.locator(f'.joint[aria-label^="{joint},"] .dot').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, joint: str, dx: float, dy: float) -> None:
    x, y = place_of(page, joint)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1024, 768), (1600, 900)])
def test_a_dragged_joint_changes_the_ids_that_python_says(pages, width, height) -> None:
    tokenizer = PoseTokenizer.from_pretrained()
    with open_page(pages["coco17"], width, height) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        before = ids_of(page)
        side = page.locator("#stage").bounding_box()["width"]
        drag(page, "right wrist", -0.1 * side, 0.15 * side)
        after = ids_of(page)
        changed = [m for m in range(34) if before[m] != after[m]]
        marked = page.locator(".chips button").evaluate_all("all => all.map(b => b.classList.contains('changed'))")
        assert changed == [m for m in range(34) if marked[m]]
        assert 1 <= len(changed) <= 10
        joints = page.evaluate("[...explorer.joints]")
    joints = torch.tensor(joints).view(1, 17, 2)
    start = torch.tensor(example_poses(tokenizer)[0]["joints"])
    moved = (joints[0] - start).abs().amax(dim=1) > 1e-6
    assert moved.nonzero().tolist() == [[10]]
    torch.testing.assert_close(joints[0, 10] - start[10], torch.tensor([-0.2, 0.3]), atol=0.02, rtol=0)
    reference = tokenizer.space.standard_reference()[None]
    assert tokenizer.encode(tokenizer.space.restore(joints, reference), bbox=reference)[0].tolist() == after


def test_an_alternative_is_put_in_by_mouse_and_by_keys(pages) -> None:
    tokenizer = PoseTokenizer.from_pretrained()
    with open_page(pages["coco17"]) as page:
        ids = ids_of(page)
        page.locator(".chips button").nth(9).click()
        page.locator("#choices button").nth(1).click()
        ids[9] = int(page.locator("#choices b").nth(1).inner_text())
        assert ids_of(page) == ids
        page.keyboard.press("Escape")
        assert page.locator("#alternatives").is_hidden()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        ids[10] = int(page.locator("#choices b").nth(1).inner_text())
        assert ids_of(page) == ids
        page.fill("#any", "1023")
        page.keyboard.press("Enter")
        ids[10] = 1023
        assert ids_of(page) == ids
        decoded = torch.tensor(page.evaluate("[...explorer.decoded]")).view(1, 17, 2)
    torch.testing.assert_close(decoded, tokenizer.decode(torch.tensor([ids])), atol=1e-4, rtol=0)


def test_unknown_joints_are_filled_in_by_keys_as_python_does(pages) -> None:
    tokenizer = PoseTokenizer.from_pretrained()
    with open_page(pages["coco17"]) as page:
        for joint in ("left wrist", "left elbow"):
            page.focus(f'.joint[aria-label^="{joint},"]')
            page.keyboard.press("u")
        page.keyboard.press("ArrowRight")  # a joint that is moved is known
        page.keyboard.press("u")
        ids = ids_of(page)
        joints, shown = (torch.tensor(page.evaluate(f"[...explorer.{n}]")) for n in ("joints", "decoded"))
        assert "unknown" in page.locator('.joint[aria-label^="left elbow,"]').get_attribute("aria-label")
        assert "Mark left elbow known" in page.locator("#unknown").inner_text()
    visible = torch.ones(1, 17, dtype=torch.bool)
    visible[0, [7, 9]] = False
    reference = tokenizer.space.standard_reference()[None]
    keypoints = tokenizer.space.restore(joints.view(1, 17, 2), reference)
    assert tokenizer.encode(keypoints, visible, reference)[0].tolist() == ids
    torch.testing.assert_close(shown.view(1, 17, 2), tokenizer.decode(torch.tensor([ids])), atol=1e-4, rtol=0)


def test_the_slider_reads_a_prefix_of_ordered_ids(pages) -> None:
    tokenizer = PoseTokenizer.from_pretrained("coco17-ordered")
    with open_page(pages["coco17-ordered"]) as page:
        page.focus("#prefix")
        page.keyboard.press("Home")
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        assert page.locator("#length").inner_text() == "5"
        assert page.locator(".chips .off").count() == 29
        ids, shown = ids_of(page), torch.tensor(page.evaluate("[...explorer.decoded]")).view(1, 17, 2)
    torch.testing.assert_close(shown, tokenizer.decode(torch.tensor([ids[:5]])), atol=1e-4, rtol=0)


def test_a_3d_pose_turns_and_keeps_its_ids(pages) -> None:
    with open_page(pages["h36m17"], 1600, 900) as page:
        ids, wrist = ids_of(page), place_of(page, "left wrist")
        box = page.locator("#stage").bounding_box()
        page.mouse.move(box["x"] + 30, box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 230, box["y"] + 60, steps=3)
        page.mouse.up()
        turned = place_of(page, "left wrist")
        assert max(abs(a - b) for a, b in zip(wrist, turned, strict=True)) > 10
        assert ids_of(page) == ids
        drag(page, "left wrist", 40, -30)
        moved = place_of(page, "left wrist")
        assert moved == pytest.approx((turned[0] + 40, turned[1] - 30), abs=3)
        assert ids_of(page) != ids


def test_a_model_of_any_skeleton_has_a_pose_to_start_from(tmp_path) -> None:
    """Also one whose joints' names would end a script."""
    skeleton = Skeleton("</script><b>", ("<!--<script>", "</script>", "x"), ((0, 1), (1, 2)))
    tokenizer = make_tokenizer(skeleton=skeleton, layout="parallel")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "page.html").write_text(explore(tmp_path / "model"), encoding="utf-8", newline="")
    with open_page(tmp_path / "page.html") as page:
        assert len(ids_of(page)) == 4
        assert page.locator('.joint[aria-label^="</script>,"]').count() == 1
        drag(page, "x", 30, 30)


def test_command_takes_poses_of_a_table(here, capsys) -> None:
    write_poses(here / "poses.json")
    assert run(capsys, "encode", "poses.json", "-o", "t.parquet")[0] == 0
    assert run(capsys, "explore", "t.parquet", "-o", "e.html", "--count", "3")[2].startswith("page: e.html (0.4 MB)")
    text = (here / "e.html").read_text(encoding="utf-8")
    assert [f'"name":"{number}","ids"' in text for number in range(5)] == [True, False, True, False, True]
    expect_error(capsys, ("explore", "t.parquet", "-o", "e.html"), "e.html", "--force")


def test_a_table_of_prefixes_shows_its_own_ids(here, capsys) -> None:
    write_poses(here / "poses.json")
    model = ("--model", "coco17-ordered")
    assert run(capsys, "encode", "poses.json", "-o", "t.parquet", "--tokens", "20", *model)[0] == 0
    assert run(capsys, "explore", "t.parquet", "-o", "e.html", *model)[0] == 0
    with TokenReader("t.parquet") as reader:
        expected = reader.read().indices[4].tolist()
    with open_page(here / "e.html") as page:
        page.locator("#starts button").nth(4).click()
        assert page.locator("#length").inner_text() == "20"
        assert ids_of(page)[:20] == expected


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("lifter",), ("pose_tokenizer",)),
        (("photos",), ("pose_tokenizer",)),
        (("none.parquet",), ("none.parquet",)),
        (("nobody",), ("nobody",)),
        (("coco17", "--model", "h36m17"), ("h36m17", "no token table")),
        (("poses.json",), ("poses.json",)),
        (("other.parquet",), ("fingerprint",)),
        (("other.parquet", "--model", "coco17"), ("fingerprint",)),
    ],
)
def test_bad_input_is_one_sentence(here, capsys, argv, parts) -> None:
    write_poses(here / "poses.json")
    make_tokenizer(skeleton=PoseTokenizer.from_pretrained().skeleton).save_pretrained(here / "mine")
    run(capsys, "encode", "poses.json", "-o", "other.parquet", "--model", "mine")
    make_tokenizer(1, skeleton=PoseTokenizer.from_pretrained().skeleton).save_pretrained(here / "mine", force=True)
    expect_error(capsys, ("explore", *argv, "-o", "e.html"), *parts)
    assert not (here / "e.html").exists()


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"quantizer": "fsq", "levels": (4, 8), "codebook_dim": 2}, "fsq"), ({"guidance_channels": 4}, "guidance")],
)
def test_models_that_no_page_can_run_are_refused(changes, word) -> None:
    with pytest.raises(ValueError, match=word):
        render_page(make_tokenizer(**changes), "mine", [])
