"""Word vectors against judgements and in analogies."""

import numpy as np
import pytest
import scipy.stats

from dlx.errors import UserError
from dlx.metrics import word_similarity as similarity

WORDS = ["king", "man", "woman", "queen", "Paris", "apple"]
PLANE = np.array([[2, 1], [2, 0], [0, 2], [0.2, 3.0], [-1, 0], [1, -3]], float)


def vectors():
  return similarity.Vectors(WORDS, PLANE)


def test_words_are_found_in_any_case_the_exact_one_first():
  found = similarity.Vectors(["us", "US", "Paris"], np.eye(3))
  assert [found.find(w) for w in ("us", "US", "Us", "paris", "x")] == [0, 1, 0, 2, None]


def test_the_correlation_is_spearmans_with_ties_and_counts_known_pairs():
  pairs = [("king", "man"), ("king", "woman"), ("man", "woman"), ("queen", "apple"), ("king", "?")]
  scores = np.array([9.0, 4.0, 4.0, 1.0, 5.0])
  found, known = similarity.correlation(vectors(), similarity.Similarities(pairs, scores))
  unit = PLANE / np.linalg.norm(PLANE, axis=1, keepdims=True)
  cosines = [unit[WORDS.index(a)] @ unit[WORDS.index(b)] for a, b in pairs[:4]]
  assert known == 4
  assert found == pytest.approx(scipy.stats.spearmanr(cosines, scores[:4]).statistic)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # From scipy's documentation.
        ([1, 2, 3], [3, 2, 1], -1.0),
    ],
)
def test_correlations_of_known_value(a, b, expected):
  angles = np.array(a) / 10  # Cosines that fall as a grows.
  words = ["base", *map(str, a)]
  plane = np.array([[1, 0], *zip(np.cos(angles), np.sin(angles))])
  judged = similarity.Similarities([("base", str(x)) for x in a], -np.array(b, float))
  found, _ = similarity.correlation(similarity.Vectors(words, plane), judged)
  assert found == pytest.approx(expected)


def test_nothing_to_correlate_is_nan():
  for scores in ([1.0, 1.0], [1.0, 2.0]):
    pairs = [("king", "man"), ("x", "y") if scores[1] == 2 else ("king", "woman")]
    found, _ = similarity.correlation(
        vectors(), similarity.Similarities(pairs, np.array(scores))
    )
    assert np.isnan(found)


def test_an_analogy_excludes_its_own_words():
  question = ("man", "king", "woman", "queen")
  assert similarity.analogies(vectors(), [question]) == (1, 1)
  near = similarity.Vectors(WORDS[:4], [[1, 0], [1, 0.1], [1, 0.05], [0, 1]])
  assert similarity.analogies(near, [("king", "man", "woman", "queen")]) == (1, 1)
  assert similarity.analogies(vectors(), [question, ("man", "x", "woman", "queen")]) == (1, 1)
  assert similarity.analogies(vectors(), [question], most_frequent=3) == (0, 0)


def test_many_questions_give_the_count_of_a_loop(monkeypatch):
  monkeypatch.setattr(similarity, "_BLOCK", 7)
  rng = np.random.default_rng(0)
  words = [f"w{i}" for i in range(30)]
  known = similarity.Vectors(words, rng.normal(size=(30, 4)))
  questions = [tuple(words[i] for i in rng.choice(30, 4, replace=False)) for _ in range(100)]
  right = 0
  for q in questions:
    a, b, c, answer = map(words.index, q)
    scores = known.unit @ (known.unit[b] - known.unit[a] + known.unit[c])
    scores[[a, b, c]] = -9
    right += int(scores.argmax()) == answer
  assert similarity.analogies(known, questions) == (right, 100) and right > 0


def test_files_as_they_are_published(tmp_path):
  texts = {
      "combined.csv": "Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7.35\n",
      "wordsim353.tsv": "# The collection\n# Word 1\tWord 2\tHuman\nlove\tsex\t6.77\n"
      "tiger\tcat\t7.35\n",
      "SimLex-999.txt": "word1\tword2\tPOS\tSimLex999\tconc\nlove\tsex\tA\t6.77\t2.7\n"
      "tiger\tcat\tN\t7.35\t2.8\n",
  }
  for name, text in texts.items():
    (tmp_path / name).write_text(text)
    found = similarity.read_similarities(tmp_path / name)
    assert found.pairs == [("love", "sex"), ("tiger", "cat")], name
    assert found.scores.tolist() == [6.77, 7.35]
  (tmp_path / "q.txt").write_text(": family\nhe she his her\n\n: other one\na b c d\n")
  assert similarity.read_analogies(tmp_path / "q.txt") == {
      "family": [("he", "she", "his", "her")], "other one": [("a", "b", "c", "d")],
  }  # fmt: skip


def test_malformed_files_name_the_line(tmp_path):
  path = tmp_path / "f.txt"
  for text, message in [
      ("a\tb\t1\nc\td\n", "line 2: expected two words and a number"),
      ("a\tb\t1\nc\td\tx\n", "line 2: expected two words and a number"),
      ("a\tb\t1\n", "has 1 pairs of words"),
  ]:
    path.write_text(text)
    with pytest.raises(UserError, match=message):
      similarity.read_similarities(path)
  for text, message in [("a b c\n", "line 1: expected four words, got 3"), (": x\n", "no analog")]:
    path.write_text(text)
    with pytest.raises(UserError, match=message):
      similarity.read_analogies(path)


def test_measures_say_how_much_is_known(tmp_path):
  (tmp_path / "ws.tsv").write_text("king\tman\t9\nking\tapple\t1\nking\tx\t3\nx\ty\t3\n")
  (tmp_path / "q.txt").write_text(": a\nman king woman queen\n: b\nx king woman queen\n")
  found = similarity.measure(vectors(), str(tmp_path / "ws.tsv"), str(tmp_path / "q.txt"))
  expected = {"ws": 1.0, "ws known": 0.5, "analogies": 1.0, "analogies known": 0.5}
  assert found == pytest.approx(expected)
  with pytest.raises(UserError, match="two files of similarities have the name ws"):
    similarity.measure(vectors(), f"{tmp_path / 'ws.tsv'},{tmp_path / 'ws.tsv'}")


def test_answers_are_neighbours_without_the_words_themselves():
  assert similarity.answer(vectors(), "king", top=1) == "man 0.894"
  assert similarity.answer(vectors(), "king - man + woman", top=1).startswith("queen")
  found = similarity.answer(vectors(), "king unheard", top=9, json=True)
  assert [row["word"] for row in found["nearest"]][0] == "man" and len(found["nearest"]) == 5
  assert found["unknown"] == ["unheard"]
  with pytest.raises(UserError, match="none of its words is among the 6"):
    similarity.answer(vectors(), "x - y")
