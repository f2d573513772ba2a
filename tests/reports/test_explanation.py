"""Explanations: scores of words, colors in a terminal, figures."""

from matplotlib import image
import numpy as np
import pytest

from dlx.reports import explanation, figures


def make(words=("a", "fine", "film"), scores=(0.0, 2.0, -1.0)):
  """[CLS], then each word, in two pieces if it is longer than three letters."""
  tokens, indices, token_scores = ["[CLS]"], [None], [9.0]
  for i, (word, score) in enumerate(zip(words, scores)):
    pieces = [word] if len(word) <= 3 else [word[:3], "##" + word[3:]]
    tokens += pieces
    indices += [i] * len(pieces)
    token_scores += [score / len(pieces)] * len(pieces)
  count = len(tokens)
  attention = np.random.default_rng(0).random((2, 3, count, count))
  return explanation.Explanation(
      "positive", 0.91, tuple(tokens), tuple(indices), np.array(token_scores), attention
  )


def test_the_score_of_a_word_is_the_sum_over_its_tokens():
  assert explanation.by_word(make()) == [("a", 0.0), ("fine", 2.0), ("film", -1.0)]


def test_a_repeated_word_has_two_entries():
  assert [word for word, _ in explanation.by_word(make(("so", "so"), (1, 2)))] == ["so", "so"]


def test_words_for_the_label_are_blue_and_against_it_red():
  shown = explanation.to_text(make())
  assert shown.plain.startswith("positive 91.0%\na fine film \n")
  assert "\nfine +2.00, film -1.00, a +0.00\n" in shown.plain
  assert shown.plain.endswith("supports the prediction (blue, +), contradicts it (red, -)")
  colors = [span.style.split("rgb(")[1].rstrip(")").split(",") for span in shown.spans]
  neutral, fine, film = [tuple(map(int, c)) for c in colors]
  assert fine[2] > fine[0] and film[0] > film[2] and min(neutral) > 240


@pytest.mark.full
@pytest.mark.parametrize("count", [3, 60])
def test_figures_of_short_and_long_documents_are_not_empty(tmp_path, count):
  found = make([f"word{i}" for i in range(count)], np.linspace(-1, 1, count))
  for draw in (explanation.draw_words, explanation.draw_attention):
    pixels = image.imread(figures.save(draw(found), tmp_path / "figure.png"))
    assert pixels.ndim == 3 and pixels[..., :3].std() > 0.05


def test_the_words_have_a_legend_and_the_attention_has_axes_and_a_color_bar():
  (axes,) = explanation.draw_words(make()).axes
  patches = axes.get_legend().get_patches()
  texts = [text.get_text() for text in axes.get_legend().get_texts()]
  assert texts == ["supports the prediction", "contradicts it"]
  blue, red = (patch.get_facecolor() for patch in patches)
  assert blue[2] > blue[0] and red[0] > red[2]
  figure = explanation.draw_attention(make())
  assert "key" in figure.get_supxlabel() and "query" in figure.get_supylabel()
  *maps, bar = figure.axes
  assert len(maps) == 6 and "attention weight" in bar.get_ylabel()
  shown = [axes.images[0].get_array() for axes in maps]
  for one, weights in zip(shown, make().attention.reshape(6, *shown[0].shape)):
    np.testing.assert_allclose(one, weights / weights.max())
