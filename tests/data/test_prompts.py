"""Prompts with labelled examples: how they are written, drawn, and cut to a context."""

import pytest

from dlx.data import prompts, vocabulary
from dlx.errors import UserError

TEMPLATE = prompts.Template.parse(r"Review: {text}\nSentiment: {label}\n\n")
EXAMPLES = [("a dull film", "bad"), ("what fun", "good")]


def test_a_prompt_is_examples_and_then_a_text_without_its_label():
  prompt = TEMPLATE.prompt(EXAMPLES, "I laughed")
  assert prompt == (
      "Review: a dull film\nSentiment: bad\n\nReview: what fun\nSentiment: good\n\n"
      "Review: I laughed\nSentiment:"
  )
  assert prompt + TEMPLATE.answer("good") == prompt + " good"
  assert TEMPLATE.prompt([], "I laughed") == "Review: I laughed\nSentiment:"
  assert TEMPLATE.cue == "Sentiment:"


@pytest.mark.parametrize("template", ["", "{text}", "{label} {text}", "{text}{text}{label}"])
def test_a_template_without_text_and_then_label_is_refused(template):
  with pytest.raises(UserError, match="should have {text} once and {label} once after it"):
    prompts.Template.parse(template)


def test_examples_are_other_texts_of_the_pool_and_more_of_them_begin_with_the_fewer():
  rows = prompts.Rows([f"text {i // 2}" for i in range(12)], [str(i) for i in range(12)])
  many = list(prompts.draw(rows, rows, 7, seed=3))
  assert many == list(prompts.draw(rows, rows, 7, seed=3))
  assert [shown[:2] for shown in many] == list(prompts.draw(rows, rows, 2, seed=3))
  assert many != list(prompts.draw(rows, rows, 7, seed=4))
  for text, shown in zip(rows.texts, many):
    assert len(set(shown)) == 7 and all(t != text for t, _ in shown)
    assert set(shown) <= set(zip(*rows))
  assert len({tuple(shown) for shown in many}) == 12
  assert list(prompts.draw(rows, prompts.Rows([], []), 0)) == [[]] * 12
  with pytest.raises(UserError, match="only 10 with another text than row 1"):
    list(prompts.draw(rows, rows, 11))


def test_the_first_examples_are_left_out_of_a_small_context():
  known = vocabulary.Characters(TEMPLATE.prompt(EXAMPLES, "I laughed"))
  whole, last, none = (TEMPLATE.prompt(EXAMPLES[n:], "I laughed") for n in range(3))
  encode = lambda limit: prompts.encode(  # noqa: E731
      known, TEMPLATE, EXAMPLES, "I laughed", limit
  )
  for limit, expected, count in [
      (None, whole, 0), (len(whole), whole, 0), (len(whole) - 1, last, 1), (len(none), none, 2),
  ]:  # fmt: skip
    ids, left_out = encode(limit)
    assert (known.decode(ids), left_out) == (expected, count)
  with pytest.raises(UserError, match=rf"^{len(none)} tokens .* has {len(none) - 1}; shorten"):
    encode(len(none) - 1)


def test_rows_of_a_table_are_stripped_and_complete(tmp_path):
  path = tmp_path / "mine.csv"
  path.write_text("stars,review\n good , a fine film \nbad,dull\n")
  assert prompts.read(path, "review", "stars") == (["a fine film", "dull"], ["good", "bad"])
  path.write_text("stars,review\ngood,fine\n,dull\n")
  with pytest.raises(UserError, match="row 2 has no stars"):
    prompts.read(path, "review", "stars")
  path.write_text("stars,review\n")
  with pytest.raises(UserError, match="has no rows"):
    prompts.read(path, "review", "stars")
