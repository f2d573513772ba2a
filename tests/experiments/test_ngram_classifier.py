"""The n-gram classifier: what is fitted, whole commands' functions, bad input."""

import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from experiments.ngram_classifier import config as configs


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  """Three classes that single words tell apart, and one pair that only word order does."""
  path = tmp_path_factory.mktemp("data") / "texts.tsv"
  rng, rows = np.random.default_rng(0), ["text\tlabel"]
  for i in range(240):
    words = [f"w{k}" for k in rng.integers(0, 30, rng.integers(3, 9))]
    label, mark = [("red", "not good"), ("green", "good not"), ("blue", "sky")][i % 3]
    rows.append(f"{' '.join(words[:2])} {mark} {' '.join(words[2:])}\t{label}")
  path.write_text("\n".join(rows))
  return str(path)


def train(table, workdir, **changes):
  changes = {"data.file": table, "data.num_validation": 40, **changes}
  dlx.train(configs.get_config("debug", changes), workdir)
  return dlx.load_run(workdir)


@pytest.mark.full
@pytest.mark.parametrize("fit, order, least, most", [
    ("logistic", 2, 1.0, 1.0), ("none", 2, 0.9, 1.0), ("logistic", 1, 0.4, 0.85),
])  # fmt: skip
def test_word_order_is_learned_by_pairs_of_words_only(table, tmp_path, fit, order, least, most):
  run = train(table, tmp_path / "run", **{"model.fit": fit, "model.order": order})
  assert least <= run.evaluate("test")["accuracy"] <= most


def test_predictions_do_not_depend_on_other_lines_and_empty_ones_are_refused(table, tmp_path):
  run = train(table, tmp_path / "run")
  lines = ["a good not one", "sky " * 40, "unknown words only"]
  assert run.predict(lines) == [run.predict([line])[0] for line in lines]
  assert run.predict(lines)[0].startswith("a good not one: green")
  with pytest.raises(UserError, match="' ' has no words"):
    run.predict(["fine", " "])


@pytest.mark.full
def test_an_explanation_names_the_ngrams_that_decide(table, tmp_path):
  run = train(table, tmp_path / "run")
  found = run.predict(["w1 good not w2", "zzz"], json=True, explain=True)
  assert next(iter(found[0]["n-grams"])) == "good not" and not found[1]["n-grams"]
  text = run.predict(["w1 good not w2", "zzz"], explain=True)
  assert "('good not' +" in text[0] and text[1].endswith("(no known word)")


def test_steps_of_gradient_descent_are_refused(table, tmp_path):
  with pytest.raises(UserError, match="total_steps must be 0, since the weights are fitted"):
    train(table, tmp_path / "run", **{"training.total_steps": 10})
