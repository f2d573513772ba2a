"""Presets of an ensemble of document classifiers. The loss is in nats per document.

python -m launch.train --config=experiments/classifier_ensemble/config.py:runs \
    --config.members=RUN1,RUN2 --workdir=DIR

runs   any runs that classify documents of the same data; their evaluation on validation
debug  the debug presets of ngram_classifier and transformer_sentiment; for tests
"""

from dlx import presets, settings
from dlx.settings import Rule
from dlx.training.classifier_settings import runs

SETTINGS = {
    "members": runs(
        "experiments.ngram_classifier:debug", "experiments.transformer_sentiment:debug"
    ),
    # A finished ensemble whose weights are taken; members may then know the validation documents.
    "weights_from": settings.run("experiments.classifier_ensemble:debug", optional=True),
    **settings.training(total_steps=0, eval_batch_size=64),
}
RULES = (
    Rule(
        lambda c: settings.steps(c.training.total_steps, 1) == 0,
        "training.total_steps must be 0, since the weights are fitted to all documents at once",
        {"training.total_steps": 10},
    ),
)
PRESETS = {"runs": {}, "debug": {}}
get_config = presets.make("experiments.classifier_ensemble", SETTINGS, PRESETS, RULES)
