"""ACoL: what is erased, where gradients flow, and how both maps are read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.acol import ACoL, erase
from ega_jax.methods.base import View
from ega_jax.models.heads import ConvHead
from tests.helpers import tiny

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
METHOD = ACoL(threshold=0.6)
MODEL = tiny.network(METHOD, batch_norm=False)
LABELS = tiny.batch()["label"]


@pytest.fixture(scope="module")
def variables():
    return tiny.variables(MODEL)


@pytest.fixture(scope="module")
def apply(variables):
    """The network over a batch, with labels or without."""
    images = tiny.batch(dtype=np.float32)["image"]
    run = jax.jit(functools.partial(MODEL.apply, variables, images, train=False))
    return lambda labels=None: run(labels=labels)


def test_erase_by_hand():
    """The map is 2, 4, 6, 10 for the label: 0, 0.25, 0.5 and 1 when scaled."""
    cams = jnp.stack([jnp.array([[2.0, 4], [6, 10]]), jnp.zeros((2, 2))], axis=-1)
    x = jnp.arange(1.0, 9).reshape(1, 2, 2, 2)
    erased = erase(x, cams[None], jnp.array([0]), 0.5)
    np.testing.assert_array_equal(erased[0], [[[1, 2], [3, 4]], [[0, 0], [0, 0]]])  # 0.5 goes too
    erased = erase(x, cams[None], jnp.array([0]), 0.51)
    np.testing.assert_array_equal(erased[0], [[[1, 2], [3, 4]], [[5, 6], [0, 0]]])
    # A constant map looks nowhere; a threshold of 0 leaves nothing.
    np.testing.assert_array_equal(erase(x, cams[None], jnp.array([1]), 0.5), x)
    assert not erase(x, cams[None], jnp.array([0]), 0.0).any()


def naive_second(variables, features, out, labels):
    """The second head's maps, of features that are smoothed and erased by loops."""
    x = np.asarray(features)
    batch, height, width, channels = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    smooth = np.zeros_like(x)
    for dy in range(3):
        for dx in range(3):
            smooth += padded[:, dy : dy + height, dx : dx + width] / 9
    for b, label in enumerate(labels):
        seen = np.asarray(out["cams"][b, :, :, label])
        scaled = (seen - seen.min()) / (seen.max() - seen.min())
        smooth[b][scaled >= METHOD.threshold] = 0
    head = ConvHead(tiny.CLASSES, features=channels)
    return head.apply({"params": variables["params"]["head_b"]}, smooth, train=False)


def test_labels_in_training_the_prediction_at_test(variables, apply):
    logits, out = apply(LABELS)
    logits_b, out_b = naive_second(variables, out["conv5_3"], out, LABELS)
    np.testing.assert_allclose(out["logits_b"], logits_b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["cams_b"], out_b["cams"], rtol=1e-4, atol=1e-5)
    predicted = np.asarray(logits.argmax(-1), np.int32)
    assert np.any(predicted != LABELS)
    test_logits, test = apply()
    np.testing.assert_array_equal(test_logits, logits)  # classes are the first head's
    logits_b, _ = naive_second(variables, out["conv5_3"], out, predicted)
    np.testing.assert_allclose(test["logits_b"], logits_b, rtol=1e-4, atol=1e-5)
    assert np.abs(test["logits_b"] - out["logits_b"]).max() > 1e-3


def test_features_are_smoothed_on_vgg_alone(variables):
    """As in the field's code: elsewhere the first head reads the trunk's output itself."""
    images = tiny.batch(size=2, dtype=np.float32)["image"]
    elsewhere = MODEL.clone(ending=METHOD.ending("resnet50"))
    (logits, out), (smoothed, _) = (
        model.apply(variables, images, train=False) for model in (elsewhere, MODEL)
    )
    head = ConvHead(tiny.CLASSES, features=8)
    expected, _ = head.apply({"params": variables["params"]["head"]}, out["conv5_3"], train=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(smoothed - logits).max() > 1e-4


def test_loss(apply):
    logits, out = apply(LABELS)
    terms = METHOD.loss(logits, out, {"label": LABELS}, KEY)
    assert set(terms) == {"ce", "ce_b"}
    rows = np.arange(tiny.BATCH)
    for term, values in (("ce", logits), ("ce_b", out["logits_b"])):
        p = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
        np.testing.assert_allclose(terms[term], -np.log(p[rows, LABELS]), rtol=1e-4)


def test_the_second_loss_does_not_teach_the_first_head(variables):
    gradient = tiny.gradient_of_terms(MODEL, METHOD, variables["params"])

    def touched(term):
        trees = gradient(term).items()
        return {name for name, tree in trees if any(map(np.any, jax.tree.leaves(tree)))}

    trunk = variables["params"].keys() - {"head", "head_b"}
    assert touched("ce_b") == trunk | {"head_b"}
    assert touched("ce") == trunk | {"head"}


def test_read_takes_the_higher_of_both():
    rng = np.random.default_rng(0)
    out = {name: jnp.asarray(rng.normal(size=(2, 3, 4, 5))) for name in ("cams", "cams_b")}
    classes = jnp.array([[0, 3], [4, 1]])
    maps = METHOD.read(View(None, None, out, None), classes)
    assert maps.shape == (2, 3, 4, 2)
    for b in range(2):
        for k in range(2):
            both = [np.asarray(out[name][b, :, :, classes[b, k]]) for name in ("cams", "cams_b")]
            scaled = [(one - one.min()) / (one.max() - one.min()) for one in both]
            np.testing.assert_allclose(maps[b, :, :, k], np.maximum(*scaled), rtol=1e-5)
