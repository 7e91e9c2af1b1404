"""How programs end: one sentence, whatever the error says."""

from __future__ import annotations

import warnings

import pytest

from pct.cli.guard import explain, guard, one_line


def test_messages_are_one_short_line_that_moves_no_terminal() -> None:
    assert one_line("a\n  b\x1b[31m\u202ec\udcff é") == "a b\ufffd[31m\ufffdc\ufffd é"
    assert len(one_line("x" * 10_000)) == 499
    assert explain(RuntimeError("x" * 10_000)).endswith("(PCT_DEBUG=1 shows where)")


def test_warnings_are_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert guard("pct", lambda: warnings.warn("two\nlines", stacklevel=1)) == 0
    assert capsys.readouterr().err == "pct: note: two lines\n"
