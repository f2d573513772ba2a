"""Presets of linear models. The loss is in nats per example (a squared error for regression).

python -m launch.train --config=experiments/linear_models/config.py:PRESET --workdir=runs/linear

fashion              Fashion-MNIST, logistic regression (softmax), by L-BFGS
fashion_one_vs_rest  the same by ten binary classifiers
fashion_one_vs_one   the same by 45 binary classifiers of pairs of classes
fashion_perceptron   the averaged perceptron
fashion_naive_bayes  Gaussian naive Bayes, with one variance per pixel
ridge                a noisy sine: a polynomial of degree 9, L2 penalty, in closed form
descent              the same by gradient descent
lasso                the same with an L1 penalty, by proximal gradient descent
polynomial           the same without a penalty: under- and overfitting over the degree
points               three classes in the plane, logistic regression
separable            two classes in the plane, the perceptron: mistakes and their bound
xor                  exclusive or, the perceptron with the product of both inputs
debug                seconds, on generated shapes; for tests; so are the other debug presets

--config.data.file=TABLE --config.data.target=COLUMN trains any preset on a .csv, .tsv or .jsonl
file of numbers; --config.data.images=DIR names Fashion-MNIST's IDX files.
"""

from dlx import presets, settings
from dlx.data import vector_settings
from dlx.models import linear_models
from dlx.settings import Rule, count, flag, number, one_of

DESCENT = {"when": ("model.solver", ("gradient_descent",))}
FITTED = {"when": ("model.kind", linear_models.WITH_LOSS)}  # By a loss.
PERCEPTRON = {"when": ("model.kind", ("perceptron",))}
_OPTIMIZER = settings.optimizers("sgd", learning_rate=0.1, momentum=0.0, decay="constant")
_UNUSED = ("optimizer.weight_decay", "optimizer.clip_norm")  # The penalties are the model's.
SETTINGS = {
    "model.kind": one_of(*linear_models.KINDS),
    "model.solver": one_of("exact", "gradient_descent"),  # Closed form, L-BFGS, or the algorithm.
    **vector_settings.SETTINGS,
    "data.batch_size": count(None, optional=True)._replace(**DESCENT),  # None: the full batch.
    "model.degree": count(1, high=20),  # Of the monomials of the inputs that are features.
    "model.monomials": one_of("all", "products"),  # products: of different inputs only.
    "model.l2": number(0.0)._replace(**FITTED),  # loss + l2 / 2 |W|^2 + l1 |W|_1, without biases.
    "model.l1": number(0.0)._replace(**DESCENT),
    "model.passes": count(10)._replace(**PERCEPTRON),
    "model.average": flag(False)._replace(**PERCEPTRON),  # The mean of the weights of all visits.
    "loss_surface": flag(False)._replace(**FITTED),  # Draw the loss around the solution.
    **{key: row._replace(**DESCENT) for key, row in _OPTIMIZER.items() if key not in _UNUSED},
    **settings.training(total_steps=0, save_every=10_000, eval_batch_size=1000),
}  # fmt: skip
RULES = (
    *vector_settings.RULES,
    Rule(
        lambda c: c.model.solver == "exact" or c.model.kind in linear_models.WITH_LOSS,
        "model.solver=gradient_descent needs a loss, which perceptron and naive_bayes do not have",
        {"model.kind": "naive_bayes", "model.solver": "gradient_descent"},
    ),
    Rule(
        lambda c: (c.model.solver == "exact") == (settings.steps(c.training.total_steps, 1) == 0),
        "training.total_steps must be 0 with model.solver=exact, and above 0 with gradient_descent",
        {"model.solver": "exact", "training.total_steps": 10},
    ),
    Rule(
        lambda c: not c.model.get("l1") or c.optimizer.momentum == 0,
        "model.l1 needs optimizer.momentum=0: the soft threshold is that of a plain step",
        {
            "model.solver": "gradient_descent", "training.total_steps": 10, "model.l1": 0.1,
            "optimizer.momentum": 0.5,
        },
    ),
)  # fmt: skip
_CURVE = {
    "data.dataset": "curve", "data.num_points": 120, "data.num_validation": 100,
    "model.kind": "squared", "model.degree": 9, "loss_surface": True,
}  # fmt: skip
_PLANE = {"data.num_points": 600, "data.num_validation": 200}
_SEPARATED = {**_PLANE, "model.kind": "perceptron", "model.passes": 100}
PRESETS = {
    "fashion": {"model.l2": 1e-4},
    "fashion_one_vs_rest": {"base": "fashion", "model.kind": "one_vs_rest"},
    "fashion_one_vs_one": {"base": "fashion", "model.kind": "one_vs_one"},
    "fashion_perceptron": {"model.kind": "perceptron", "model.average": True},
    "fashion_naive_bayes": {"model.kind": "naive_bayes"},
    "ridge": {**_CURVE, "model.l2": 1e-2},
    "descent": {
        "base": "ridge", "model.solver": "gradient_descent", "training.total_steps": 20_000,
        "training.steps_per_execution": 1000, "training.eval_every": 2000,
    },
    "lasso": {"base": "descent", "model.l2": 0.0, "model.l1": 2e-2},
    "polynomial": _CURVE,
    "points": {**_PLANE, "data.dataset": "points", "loss_surface": True},
    "separable": {**_SEPARATED, "data.dataset": "separable"},
    "xor": {
        **_SEPARATED, "data.dataset": "xor", "model.degree": 2, "model.monomials": "products",
    },
    "debug": {
        "data.dataset": "gray_shapes", "data.size": 8, "data.num_validation": 96, "model.l2": 1e-2,
    },
    "debug_descent": {
        "base": "debug", "model.kind": "one_vs_one", "model.solver": "gradient_descent",
        "data.batch_size": 32, "model.l1": 1e-3, "training.total_steps": 30,
        "training.eval_every": 10, "training.save_every": 5,
    },
    "debug_regression": {
        "base": "debug_descent", "data.dataset": "curve", "data.num_points": 60,
        "data.num_validation": 30, "data.batch_size": None, "model.kind": "squared",
        "model.degree": 3,
    },
    "debug_perceptron": {
        "data.dataset": "xor", "data.num_points": 80, "data.num_validation": 40,
        "model.kind": "perceptron", "model.passes": 20, "model.degree": 2,
    },
}  # fmt: skip
get_config = presets.make("experiments.linear_models", SETTINGS, PRESETS, RULES)
