"""The settings of dlx.data.pairs and dlx.data.spans: rows of a config table, and their rules."""

from dlx.data import documents, pairs
from dlx.settings import Rule, count, flag, number, one_of, text

_SPANS = {"when": ("data.dataset", ("spans",))}
SETTINGS = {
    "data.pairs": text(),  # A table, which replaces the dataset.
    "data.validation_pairs": text(),  # None: drawn from the pairs, as test_pairs.
    "data.test_pairs": text(),
    "data.source_column": text("source"),
    "data.target_column": text("target"),
    "data.dataset": one_of(*pairs.SOURCES, "spans"),
    "data.documents": one_of(*documents.SOURCES)._replace(**_SPANS),
    "data.documents_file": text()._replace(**_SPANS),  # A table, which replaces the documents.
    "data.text_column": text("text")._replace(**_SPANS),
    "data.num_validation": count(500)._replace(**_SPANS),  # Of the training documents.
    "data.span_rate": number(0.15, low=0.01, high=0.5)._replace(**_SPANS),  # Of hidden tokens.
    "data.span_length": number(3.0, low=1.0)._replace(**_SPANS),  # The mean.
    "data.stress": flag(False),  # Of the CMU dictionary: tell AH0, AH1 and AH2 apart.
    "data.held_out": number(0.1, low=0.001, high=0.9),  # Sources for validation and test, together.
    "data.split_seed": count(0, low=0),
    "data.lowercase": flag(False),
    "data.source_tokens": one_of("characters", "words", "byte_pairs"),
    "data.target_tokens": one_of("words", "characters", "byte_pairs"),
    "data.joint_vocabulary": flag(False),  # One vocabulary and one embedding for both sides.
    "data.vocab_size": count(8000, low=2),  # Of words or byte pairs.
    "data.max_length": count(32, low=2),  # Tokens; longer pairs are not trained on.
    "data.num_lengths": count(4),  # Lengths that batches are truncated to.
    "data.batch_size": count(128),
}
RETIRED = ("data.label_column",)  # Spans are hidden in documents without labels.
RULES = (
    Rule(
        lambda c: not c.data.joint_vocabulary or c.data.source_tokens == c.data.target_tokens,
        "data.joint_vocabulary needs data.source_tokens and data.target_tokens of one kind",
        {"data.joint_vocabulary": True, "data.source_tokens": "characters",
         "data.target_tokens": "byte_pairs"},
    ),
    Rule(
        lambda c: c.data.dataset != "spans" or (
            c.data.joint_vocabulary and c.data.max_length > 2
            and not (c.data.pairs or c.data.validation_pairs or c.data.test_pairs)
        ),
        "data.dataset is spans, which needs data.joint_vocabulary=True, data.max_length of 3 or "
        "more, and no tables of pairs",
        {"data.dataset": "spans", "data.joint_vocabulary": False},
    ),
)  # fmt: skip
