"""What is shown of an explanation: words and their scores, colours, pictures."""

import matplotlib
import numpy as np
import pytest

from dlx.reports import explanation


def make(words=("a", "fine", "film"), scores=(0.0, 2.0, -1.0)):
  """[CLS], then each word in two pieces where it is longer than three letters."""
  tokens, places, shares = ["[CLS]"], [None], [9.0]
  for i, (word, score) in enumerate(zip(words, scores)):
    pieces = [word] if len(word) <= 3 else [word[:3], "##" + word[3:]]
    tokens += pieces
    places += [i] * len(pieces)
    shares += [score / len(pieces)] * len(pieces)
  count = len(tokens)
  attention = np.random.default_rng(0).random((2, 3, count, count))
  return explanation.Explanation(
      "positive", 0.91, tuple(tokens), tuple(places), np.array(shares), attention
  )


def test_a_word_has_the_sum_of_its_pieces_scores():
  assert explanation.by_word(make()) == [("a", 0.0), ("fine", 2.0), ("film", -1.0)]


def test_the_same_word_twice_stays_two_words():
  assert [word for word, _ in explanation.by_word(make(("so", "so"), (1, 2)))] == ["so", "so"]


def test_in_a_terminal_words_for_the_label_are_blue_and_against_it_red():
  shown = explanation.in_terminal(make())
  assert shown.plain.startswith("positive 91.0%\na fine film \n")
  assert shown.plain.endswith("fine +2.00, film -1.00, a +0.00")
  colours = [span.style.split("rgb(")[1].rstrip(")").split(",") for span in shown.spans]
  neutral, fine, film = [tuple(map(int, c)) for c in colours]
  assert fine[2] > fine[0] and film[0] > film[2] and min(neutral) > 240


@pytest.mark.parametrize("count", [3, 60])
def test_pictures_are_drawn_for_short_and_long_texts(tmp_path, count):
  found = make([f"word{i}" for i in range(count)], np.linspace(-1, 1, count))
  for draw in (explanation.draw_words, explanation.draw_attention):
    draw(tmp_path / "picture.png", found)
    picture = matplotlib.image.imread(tmp_path / "picture.png")
    assert picture.ndim == 3 and picture[..., :3].std() > 0.05
