"""What several tests share: a network that compiles in a second, a batch and a training state."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ega_jax.config import build
from ega_jax.config.fields import get_config
from ega_jax.methods.base import View
from ega_jax.methods.cam import CAM
from ega_jax.models import vgg
from ega_jax.models.blocks import ConvBlock, max_pool
from ega_jax.models.heads import ConvHead
from ega_jax.models.network import Network
from ega_jax.training import optimizers, steps
from ega_jax.training.objective import Entropy

SIZE = 16
CLASSES = 5
BATCH = 8


class TinyNet(nn.Module):
    """One block of the trunk and the real head, with the interface of the real networks."""

    num_classes: int = CLASSES
    batch_norm: bool = True
    dual: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, images, *, train, aux=False, labels=None):
        common = {"batch_norm": self.batch_norm, "dual": self.dual}
        mode = {"train": train, "aux": aux}
        x = ConvBlock(4, name="conv1_1", **common)(images - 0.5, **mode)
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        head = ConvHead(self.num_classes, features=6, dropout=self.dropout, name="head", **common)
        logits, out = head(x, **mode)
        return logits, out


class SmallVGG(Network):
    """VGG16 of one convolution a stage: a network with all that methods ask for.

    With stride 4, at 16 pixels, `pool1` to `conv4_3` are 8x8, what comes after is 4x4.
    """

    feature_stride: int = 4
    feature_strides = (4, 8)
    whole_strides = True

    def trunk(self, x, stage, common, mode):
        for number, (_, count) in enumerate(vgg.STAGES, start=1):
            name = f"conv{number}_{count}"
            conv = ConvBlock(self.head_features, batch_norm=self.batch_norm, name=name, **common)
            x = stage(name, conv(x, **mode))
            if number <= 4:
                pools = number in (1, 4) or (number == 3 and self.feature_stride == 8)
                x = stage(f"pool{number}", max_pool(x, 2, 2) if pools else x)


def method(name, **settings):
    """Builds a method with the settings that a config has by default, some of them changed."""
    config = get_config()
    config.method = name
    return dataclasses.replace(build.method(config), **settings)


def entropy(clean=0.0, adv=0.0, probability="minmax", reduction="mean"):
    """The entropy terms of an objective."""
    return Entropy(clean, adv, probability, reduction)


def network(method=None, *, width=1 / 128, **settings):
    """Builds a `SmallVGG` as a method wants it; 8 channels everywhere."""
    method = method or CAM()
    changes = {"inserts": method.inserts("vgg16"), "ending": method.ending("vgg16")}
    return SmallVGG(**{"num_classes": CLASSES, "width": width, **changes, **settings})


def view(model, variables, images):
    """Looks at float images with a trained network."""
    forward = functools.partial(model.apply, variables, train=False)
    logits, out = forward(images)
    return View(images, logits, out, forward)


def gradient_of_terms(model, method, params):
    """Makes a function of a term's name: its gradient alone, by one compilation for all."""
    noise = batch(dtype=np.float32)

    @jax.jit
    @jax.grad
    def gradient(params, name):
        logits, out = model.apply(
            {"params": params}, noise["image"], train=True, labels=noise["label"]
        )
        terms = method.loss(logits, out, noise, jax.random.key(0))
        return sum(terms[term].sum() * (name == i) for i, term in enumerate(sorted(terms)))

    logits, out = jax.eval_shape(
        lambda p: model.apply({"params": p}, noise["image"], train=False), params
    )
    shapes = jax.eval_shape(lambda *a: method.loss(*a, noise, jax.random.key(0)), logits, out)
    return lambda name: gradient(params, sorted(shapes).index(name))


def variables(model, seed=0, *, shape=(1, SIZE, SIZE, 3)):
    """Draws parameters and statistics for inputs of `shape`, none of them at its initial constant.

    Fresh networks hide mistakes: scales of 1, biases of 0 and classifiers near 0 make different
    branches, terms and gradients alike. Drawing in NumPy also spares compiling the initialisation.
    """
    init = functools.partial(model.init, train=False)
    abstract = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    rng = np.random.default_rng(seed)

    def draw(path, x):
        if path[-1].key == "kernel":
            fan_in = math.prod(x.shape[:-1])
            values = rng.normal(0.0, math.sqrt(2 / fan_in), x.shape)
        elif path[-1].key in ("scale", "var"):
            values = rng.uniform(0.7, 1.4, x.shape)
        else:
            values = rng.normal(0.0, 0.1, x.shape)
        return jnp.asarray(values, x.dtype)

    return jax.tree_util.tree_map_with_path(draw, dict(abstract))


def batch(seed=0, *, size=BATCH, image_size=SIZE, dtype=np.uint8):
    """Draws a batch of noise; float images lie in [0, 1]."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size, image_size, image_size, 3), np.uint8)
    return {
        "image": images if dtype == np.uint8 else images.astype(dtype) / 255,
        "label": rng.integers(0, CLASSES, size, np.int32),
        "mask": np.ones(size, bool),
    }


def optimizer(learning_rate=0.1, *, momentum=0.9, **changes):
    """Builds the project's SGD with PyTorch's defaults."""
    settings = {
        "weight_decay": 5e-4,
        "decay_norm_and_bias": True,
        "head_multiplier": 1.0,
        "clip_norm": None,
    }
    schedule = optax.constant_schedule(learning_rate)
    return optimizers.build(optimizers.nesterov(momentum), schedule, **(settings | changes))


def train_state(model, tx, seed=0, *, shape=(1, SIZE, SIZE, 3)):
    """Makes a state as training starts from, with disturbed parameters and statistics."""
    model_state = variables(model, seed, shape=shape)
    params = model_state.pop("params")
    return steps.TrainState(jnp.zeros((), jnp.int32), params, model_state, tx.init(params))


def assert_trees_equal(actual, expected):
    """Asserts that two trees have the same structure and the same bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def assert_trees_close(actual, expected, *, rtol=1e-5, atol=1e-6):
    """Asserts that two trees have the same structure and nearly the same values."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol), actual, expected
    )
