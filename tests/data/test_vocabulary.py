"""Vocabularies: what is encoded is decoded, rare and unseen text, what is refused."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from dlx.data import vocabulary as vocabularies
from dlx.data.vocabulary import BytePairs, Characters, Words
from dlx.errors import UserError


def test_ids_follow_the_order_of_code_points():
  vocabulary = Characters("cab𝄞é")
  assert vocabulary.characters == "abcé𝄞"
  assert len(vocabulary) == 5
  ids = vocabulary.encode("é𝄞abba")[0]
  assert ids.dtype == np.int32
  np.testing.assert_array_equal(ids, [3, 4, 0, 1, 1, 0])


def test_a_byte_of_the_command_line_that_is_not_utf8_is_an_unknown_character():
  with pytest.raises(UserError, match=r"the character '\\udce9' \(U\+DCE9\) is not among the 4"):
    Characters("cafe").encode("caf\udce9")


# All characters except UTF-16 surrogates, which UTF-8 cannot encode.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@settings(deadline=None)
@given(texts)
def test_decoding_inverts_encoding(content):
  vocabulary = Characters(content)
  ids = vocabulary.encode(content)[0]
  assert len(ids) == len(content)
  assert vocabulary.decode(ids) == content
  assert all(vocabulary.characters[i] == c for i, c in zip(ids, content))


@pytest.mark.parametrize("content", ["", "\U0010ffff\0", "\u2028\x85\n\r\n"])
def test_decoding_inverts_encoding_of_unusual_characters(content):
  vocabulary = Characters(content + "a")
  assert vocabulary.decode(vocabulary.encode(content)[0]) == content


@pytest.mark.parametrize(
    "content, name",
    [
        ("abx", r"'x' \(U\+0078\)"),  # After the last one known.
        ("ab\nb", r"'\\n' \(U\+000A\)"),  # Before the first.
        ("ab🎵x", r"'🎵' \(U\+1F3B5\)"),  # The first of two.
    ],
)
def test_an_unknown_character_is_named(content, name):
  with pytest.raises(UserError, match=f"the character {name} is not among the 2 "):
    Characters("ab").encode(content)[0]


def test_the_first_character_is_the_newline_where_there_is_one():
  assert Characters("b\na").first == "\n" and Characters("ab\t\n").first == "\n"
  assert Characters("ba").first == "a"


def test_a_vocabulary_is_restored_from_its_characters():
  vocabulary = Characters("the \"quick\" \\ brown\n\tfox, ünïcode 𝄞🎵\x7f\u2028")
  restored = Characters(json.loads(json.dumps(vocabulary.characters)))
  assert restored.characters == vocabulary.characters
  np.testing.assert_array_equal(restored.encode("fox𝄞")[0], vocabulary.encode("fox𝄞")[0])


TEXT = "the cat saw the dog.\n\nThe dog saw  the cat; the naïve 𝄞 cat sat\n" * 3


@pytest.mark.parametrize("kind", vocabularies.KINDS)
def test_assets_are_json_that_restores_the_vocabulary(kind):
  vocabulary = vocabularies.learn(kind, TEXT, 300)
  restored = vocabularies.of(json.loads(json.dumps(vocabulary.assets)))
  ids = vocabulary.encode("the dog saw")[0]
  assert len(restored) == len(vocabulary) and ids.dtype == np.int32
  np.testing.assert_array_equal(restored.encode("the dog saw")[0], ids)
  assert restored.decode(ids).strip() == "the dog saw"


def test_the_most_frequent_words_are_kept_and_the_rest_is_unknown():
  words = Words.most_frequent("b a c b a b <unk> d", 3)
  assert words.words == ["<unk>", "b", "a"]  # c and d are as rare as each other.
  assert Words.most_frequent("d c", 2).words == ["<unk>", "c"]
  ids, characters = words.encode(" a\nb  c")
  assert ids.tolist() == [2, 1, 0] and characters.tolist() == [2, 2, 3]
  assert words.decode(ids) == " a b <unk>"


def test_a_word_never_seen_is_named_in_a_prompt():
  words = Words(["<unk>", "a", "b"])
  assert words.encode_prompt("a <unk>").tolist() == [1, 0]
  assert words.encode_prompt("").tolist() == [0]
  with pytest.raises(UserError, match="the word 'c' is not among the 3 words"):
    words.encode_prompt("a c b")


@settings(deadline=None)
@given(texts)
def test_byte_pairs_encode_every_text_and_count_its_characters(content):
  byte_pairs = vocabularies.of(BYTE_PAIRS.assets)
  ids, characters = byte_pairs.encode(content)
  assert byte_pairs.decode(ids) == content
  assert characters.sum() == len(content) and characters.min() >= 0


BYTE_PAIRS = BytePairs.train(TEXT, 280)


def test_byte_pairs_merge_what_is_frequent():
  assert len(BYTE_PAIRS) == 280
  ids, characters = BYTE_PAIRS.encode("the cat")
  assert len(ids) < 7 and characters.sum() == 7
  again = BytePairs.train(TEXT, 280)
  np.testing.assert_array_equal(again.encode(TEXT)[0], BYTE_PAIRS.encode(TEXT)[0])


@pytest.mark.parametrize(
    "kind, text, size, message",
    [
        ("characters", "aaa", None, "only one of characters"),
        ("words", "a a a", 1, "only one of words"),
        ("byte_pairs", "abc", 255, "at least the 256 bytes, got 255"),
    ],
)
def test_a_vocabulary_of_one_is_refused(kind, text, size, message):
  with pytest.raises(UserError, match=message):
    vocabularies.learn(kind, text, size)


def test_a_surrogate_is_refused():
  with pytest.raises(UserError, match="is not valid UTF-8"):
    BYTE_PAIRS.encode("caf\udce9")


@pytest.mark.parametrize("assets", [
    {}, {"characters": None}, {"characters": ""}, {"characters": "aba"}, {"characters": [1, 2]},
    {"words": "abc"}, {"words": []}, {"words": ["a", 3]}, {"words": ["a", "a"]}, {"words": {}},
    {"byte_pairs": 3}, {"byte_pairs": "{}"}, {"byte_pairs": None},
])  # fmt: skip
def test_assets_of_no_vocabulary_are_errors_of_values(assets):
  with pytest.raises((KeyError, TypeError, ValueError)):
    vocabularies.of(assets)
