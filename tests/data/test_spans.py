"""Hidden spans: source and target together are the document; how many are hidden, and where."""

import jax
import numpy as np
import pytest

from dlx.data import documents, pairs, spans
from dlx.data import vocabulary as vocabularies
from dlx.errors import UserError
from experiments.seq2seq import config as configs

WIDTH = 100
LENGTHS = np.array([100, 100, 37, 20, 7, 3, 2])
# Each token of a document has an id of its own: its place and 3.
IDS = np.where(np.arange(WIDTH) < LENGTHS[:, None], np.arange(WIDTH) + 3, 0).astype(np.int32)
RATES = {"rate": 0.15, "mean_length": 3.0}
TOKENS = pairs.Tokens(vocabularies.Words([f"w{i}" for i in range(WIDTH)]), 5)

draw = jax.jit(lambda key, **options: spans.draw(
    key, IDS, LENGTHS, tokens=TOKENS, **RATES | options
), static_argnames=tuple(RATES))  # fmt: skip


def parts_of(row):
  """(the tokens before the first sentinel, those after each sentinel) of a row, until END."""
  row = list(row)
  end = row.index(pairs.END)
  assert not any(row[end + 1 :])
  parts = [[]]
  for i in row[:end]:
    if i >= TOKENS.first_sentinel:
      assert i == TOKENS.first_sentinel + len(parts) - 1
      parts.append([])
    else:
      parts[-1].append(i)
  return parts


@pytest.mark.parametrize("options", [{}, {"rate": 0.5, "mean_length": 20.0}])
def test_source_and_target_rebuild_the_document(options):
  for seed in range(30):
    found = jax.device_get(draw(jax.random.key(seed), **options))
    for side in ("source", "target"):  # The longest documents need no padding.
      assert (found[side][:2, -1] == pairs.END).all()
    columns = (found[name] for name in ("source", "target", "lengths"))
    for ids, n, source, target, length in zip(IDS, LENGTHS, *columns):
      kept, hidden = parts_of(source), parts_of(target)
      assert len(kept) == len(hidden) and hidden[0] == [] and all(hidden[1:]) and all(kept[:-1])
      rebuilt = [i for part in zip(hidden, kept) for each in part for i in each]
      np.testing.assert_array_equal(rebuilt, ids[:n])
      assert length == 1 + max(list(source).index(pairs.END), list(target).index(pairs.END))


def test_rate_and_mean_length_are_those_asked_for_and_each_division_is_as_probable():
  """15 of 100 tokens in 5 spans; 3 of 20 in one, 3 and more first tokens kept."""
  firsts, sizes = [], []
  for seed in range(300):
    target = jax.device_get(draw(jax.random.key(seed)))["target"]
    parts = [parts_of(row)[1:] for row in target]
    assert [sum(map(len, p)) for p in parts] == [15, 15, 6, 3, 1, 1, 1]
    assert [len(p) for p in parts] == [5, 5, 2, 1, 1, 1, 1]
    sizes += [len(span) for span in parts[0]]
    firsts += [len(p[0]) for p in parts[2:3]]
  assert np.mean(sizes) == 3.0
  # 6 hidden tokens in 2 spans: the first has 1 to 5, each with probability 1/5.
  np.testing.assert_allclose(np.bincount(firsts, minlength=6)[1:] / 300, 0.2, atol=0.08)
  # 15 in 5: a span has one token with probability C(13, 3) / C(14, 4).
  assert np.mean(np.array(sizes) == 1) == pytest.approx(286 / 1001, abs=0.05)


def test_another_key_hides_other_spans():
  first, again, other = (np.asarray(draw(jax.random.key(s))["source"]) for s in (0, 0, 1))
  assert (first == again).all() and (first[:3] != other[:3]).any(1).all()


@pytest.fixture
def options():
  """`options(**changes)`: config.data of the debug preset."""
  return lambda **changes: configs.get_config(
      "debug_spans", {f"data.{key}": value for key, value in changes.items()}
  ).data


@pytest.mark.full
def test_long_documents_become_several_and_held_out_ones_are_texts(options):
  data = spans.load(options(max_length=9))
  tokens, _ = pairs.tokens_of(data.assets)
  ids = [i for row in data.train["ids"] for i in row if i]
  texts = documents.load("sentences", num_validation=40).train.texts
  counts = [len(text.split()) for text in texts]
  assert len(ids) == sum(n - (n % 8 == 1) for n in counts)  # A last word alone is left out.
  assert data.train["ids"].shape[1] == 8 and (np.diff(data.train["lengths"]) >= 0).all()
  for i, (source, target) in enumerate(zip(data.test["source_text"], data.test["target_text"])):
    assert tokens.decode(tokens.encode(source)) == source and source.count("<extra_id_") == 1
    row = tokens.encode(source)
    np.testing.assert_array_equal(data.test["source"][i][: len(row)], row)
    assert target.startswith("<extra_id_0> ")
  with pytest.raises(UserError, match="<extra_id_7> does not exist; the last is <extra_id_0>"):
    tokens.encode("the plot <extra_id_7>")


def test_a_vocabulary_without_enough_sentinels_is_refused(options):
  assets = pairs.load(configs.get_config("debug").data).assets
  with pytest.raises(UserError, match="its run has 0 sentinels, but span_rate, .* need 1"):
    spans.load(options(), assets)
