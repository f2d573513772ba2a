"""Presets of an ensemble of document classifiers. The loss is in nats per document.

python -m launch.train --config=experiments/classifier_ensemble/config.py:runs \
    --config.members=RUN1,RUN2 --workdir=DIR

runs   any runs that classify documents of the same data; their evaluation on validation
debug  the debug presets of ngram_classifier and transformer_sentiment; for tests
"""

from dlx import presets, settings
from dlx.training.classifier_settings import FITTED_RULE, runs

SETTINGS = {
    "members": runs(
        "experiments.ngram_classifier:debug", "experiments.transformer_sentiment:debug"
    ),
    # A finished ensemble whose weights are taken; members may then know the validation documents.
    "weights_from": settings.run("experiments.classifier_ensemble:debug", optional=True),
    **settings.training(total_steps=0, eval_batch_size=64),
}
PRESETS = {"runs": {}, "debug": {}}
get_config = presets.make("experiments.classifier_ensemble", SETTINGS, PRESETS, (FITTED_RULE,))
