"""Presets of the variational autoencoder. The loss is -ELBO, in nats per image.

python -m launch.train --config=experiments/vae/config.py:PRESET --workdir=runs/vae

fashion   Fashion-MNIST, 784-400-20 units, 10 epochs
beta      fashion with beta = 4
plane     fashion with two latents
collapse  fashion with 100 latents, most of which collapse to the prior
freebits  collapse, avoided by free bits and KL warm-up
debug     seconds, on generated shapes; for tests
"""

from dlx import presets, settings
from dlx.settings import count, length, number

SETTINGS = {
    **settings.image_data("fashion_mnist", "mnist", "cifar10", "gray_shapes", "shapes"),
    "model.d_hidden": count(400),
    "model.d_latent": count(20),
    "beta": number(1.0),  # The weight of the KL term in training.
    "kl_warmup": length(0, low=0),  # The weight rises linearly from 0 to beta.
    "free_bits": number(0.0),  # Nats per latent that the KL term does not penalize.
    "num_importance_samples": count(50),  # K of the importance-weighted bound.
    **settings.adamw(
        learning_rate=3e-3, warmup_steps=200, end_lr_fraction=0.02, b2=0.999, clip_norm=None
    ),
    **settings.training(
        total_steps="10 epochs", eval_every="1 epoch", save_every="1 epoch", ema_decay=0.99,
        steps_per_execution=50,
    ),
}
PRESETS = {
    "fashion": {},
    "beta": {"beta": 4.0},
    "plane": {"model.d_latent": 2},
    "collapse": {"model.d_latent": 100},
    "freebits": {"base": "collapse", "free_bits": 0.1, "kl_warmup": "2 epochs"},
    "debug": {
        "data.dataset": "gray_shapes", "data.size": 12, "data.num_validation": 96,
        "data.batch_size": 32, "model.d_hidden": 16, "model.d_latent": 2,
        "kl_warmup": 6, "free_bits": 0.1, "optimizer.warmup_steps": 5, "num_importance_samples": 5,
        "training.total_steps": "2 epochs", "training.eval_every": 6, "training.save_every": 4,
    },
}  # fmt: skip
get_config = presets.make("experiments.vae", SETTINGS, PRESETS)
