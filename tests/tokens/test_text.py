"""The text form of tokens: an exact inverse, a closed vocabulary, and text that is no pose is named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pct.tokens.text import parse_word, text_to_tokens, tokens_to_text, vocabulary

indices_arrays = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 8), st.integers(1, 40)), elements=st.integers(0, 2**31 - 1)
)


@given(indices_arrays)
def test_text_is_an_exact_inverse(indices) -> None:
    texts = tokens_to_text(indices)
    np.testing.assert_array_equal(text_to_tokens(texts), indices)
    np.testing.assert_array_equal(text_to_tokens(tokens_to_text(indices, positions=True)), indices)
    spaced = [text.replace("<", " <") + "\n" for text in texts]
    np.testing.assert_array_equal(text_to_tokens(spaced), indices)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99), st.booleans())
def test_every_word_of_a_text_is_in_its_vocabulary(codebook_size, num_tokens, seed, positions) -> None:
    words = vocabulary(codebook_size, num_tokens if positions else None)
    assert len(set(words)) == len(words) == (num_tokens if positions else 1) * codebook_size + 2
    ids = {word: i for i, word in enumerate(words)}
    indices = np.random.default_rng(seed).integers(0, codebook_size, (1, num_tokens))
    (text,) = tokens_to_text(indices, positions)
    expected = 2 + np.arange(num_tokens) * codebook_size * positions + indices[0]
    assert [ids[word] for word in re.findall("<.*?>", text)] == [0, *expected.tolist(), 1]


def test_words_say_what_they_mean() -> None:
    for words, places in ((vocabulary(3), [None] * 3), (vocabulary(3, 2), [0] * 3 + [1] * 3)):
        assert [parse_word(w) for w in words[:2]] == [None, None]
        assert [parse_word(w) for w in words[2:]] == list(zip(places, [0, 1, 2] * (len(places) // 3), strict=True))
    for text in ("<p01>", "<p>", " <p1>", "<p1> ", "<p1_>", "<p1><p2>", "p1", "", "<p-1>", "<p1_2_3>"):
        with pytest.raises(ValueError, match="is no word of pose tokens"):
            parse_word(text)


def test_no_word_begins_another() -> None:
    words = vocabulary(1024)
    assert not [w for w in words for other in ("<p1>", "<p10>", "<pose>") if w != other and w.startswith(other)]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "text 1, character 0: expected <pose>, found ''"),
        ("<p1><p2></pose>", "text 1, character 0: expected <pose>"),
        ("<pose><p1><p2>", "text 1, character 14: .* found 'the end of the text'"),
        ("<pose><p1>,<p2></pose>", "text 1, character 10: .* found ',<p2></pose>'"),
        ("<pose><p01><p2></pose>", "text 1, character 6: expected <p...>"),
        ("<pose><p-1><p2></pose>", "text 1, character 6: expected <p...>"),
        ("<pose><p1><p2></pose>!", "text 1, character 21: text after </pose>: '!'"),
        ("<pose><p1><p32></pose>", "text 1, character 10: id 32 is outside the codebook; ids go from 0 to 31"),
        ("<pose><p1_1><p1></pose>", "text 1, character 6: expected <p0_...>, found '<p1_1>'"),
        ("<pose><p0_32><p1></pose>", "text 1, character 6: id 32 is outside the codebook"),
        ("<pose><p1></pose>", "text 1 has 1 tokens; a pose of this model has 2"),
    ],
)
def test_text_that_is_no_pose_is_named(text, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        text_to_tokens(["<pose><p0><p31></pose>", text], codebook_size=32)


def test_arrays_that_are_no_tokens_have_no_text() -> None:
    for bad in (np.zeros((2, 3)), np.zeros(3, np.int64)):
        with pytest.raises(ValueError, match="must be integers"):
            tokens_to_text(bad)
    with pytest.raises(ValueError, match="token 1 of row 0 is -4"):
        tokens_to_text(np.array([[1, -4]]))
    with pytest.raises(ValueError, match="at least 1"):
        vocabulary(0)
    with pytest.raises(ValueError, match="num_tokens must be at least 1, got 0"):
        vocabulary(4, 0)
