"""CutMix: the box, the share that stays, the neighbour, and the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.cutmix import random_box
from ega_jax.ops import losses
from tests.helpers import tiny

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)


def numbered(size=6):
    """A batch whose image i is i everywhere, with label i."""
    images = np.broadcast_to(
        np.arange(size, dtype=np.float32)[:, None, None, None] / 10, (size, 10, 10, 3)
    )
    return {
        "image": jnp.array(images),
        "label": jnp.arange(size, dtype=jnp.int32),
        "mask": jnp.ones(size, bool),
    }


@pytest.mark.parametrize(
    ("stays", "centre", "rows", "columns"),
    [
        (0.75, (5, 5), (3, 7), (3, 7)),  # side int(10 * sqrt(0.25)) = 5: 2 pixels on either side
        (0.75, (0, 9), (0, 2), (7, 10)),  # clipped
        (0.0, (5, 5), (0, 10), (0, 10)),  # all of it
        (0.0, (2, 9), (0, 7), (4, 10)),
        (0.99, (5, 5), (5, 5), (5, 5)),  # side 1, of which half is 0
        (1.0, (5, 5), (5, 5), (5, 5)),
        (0.36, (4, 6), (0, 8), (2, 10)),  # side 8
    ],
)
def test_box_by_hand(monkeypatch, stays, centre, rows, columns):
    monkeypatch.setattr(jax.random, "beta", lambda *_: jnp.float32(stays))
    monkeypatch.setattr(jax.random, "randint", lambda *_: jnp.array(centre))
    expected = np.zeros((10, 10), bool)
    expected[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(random_box(KEY, 10, beta=1.0), expected)


@pytest.fixture(scope="module")
def boxes():
    """A function of beta: 1000 boxes in 32 pixels."""
    keys = jax.random.split(KEY, 1000)
    draw = jax.jit(jax.vmap(lambda key, beta: random_box(key, 32, beta=beta), (0, None)))
    return lambda beta: np.asarray(draw(keys, beta))


@pytest.mark.parametrize("beta", [0.04, 1.0, 1.35])
def test_boxes_are_squares_but_for_the_border(boxes, beta):
    for box in boxes(beta)[:300]:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        if not len(rows):
            continue
        assert box.sum() == len(rows) * len(columns)  # a rectangle
        cut_rows, cut_columns = (side[0] == 0 or side[-1] == 31 for side in (rows, columns))
        if not cut_rows and not cut_columns:
            assert len(rows) == len(columns)
        elif not cut_rows:
            assert len(rows) >= len(columns)
        elif not cut_columns:
            assert len(columns) >= len(rows)


def test_the_share_is_beta_distributed(boxes):
    """Uniform for beta 1, and nearly all or nothing for a small one."""
    inside = boxes(1.0)
    central = inside[:, 15, 15].mean()  # the centre is hit more often than the corner
    assert central > 0.3 and inside[:, 0, 0].mean() < 0.5 * central
    whole = [box.sum() for box in boxes(0.04)]
    assert 0.4 < np.mean(np.equal(whole, 0)) < 0.6  # half the time nothing is cut out


def test_neighbour_label_and_share():
    before = numbered()
    augment = jax.jit(tiny.method("cutmix").augment)
    for seed in range(5):
        after = augment(before, jax.random.key(seed))
        for i in range(6):
            inside = np.asarray(after["image"][i, :, :, 0]) != np.float32(i / 10)
            filled = np.where(inside[..., None], np.float32((i - 1) % 6 / 10), np.float32(i / 10))
            np.testing.assert_array_equal(after["image"][i], np.broadcast_to(filled, (10, 10, 3)))
            np.testing.assert_allclose(after["share"], 1 - inside.mean(), rtol=1e-6)
        np.testing.assert_array_equal(after["label"], before["label"])
        np.testing.assert_array_equal(after["other_label"], [5, 0, 1, 2, 3, 4])


def test_loss_by_hand():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    batch = {"label": jnp.array([0, 1]), "other_label": jnp.array([1, 2]), "share": 0.75}
    method = tiny.method("cutmix")
    expected = [
        -0.75 * np.log(0.5) - 0.25 * np.log(0.25),
        -0.75 * np.log(0.2) - 0.25 * np.log(0.7),
    ]
    np.testing.assert_allclose(method.classify(logits, batch), expected, rtol=1e-6)
    terms = method.loss(logits, {}, batch, KEY)
    assert set(terms) == {"ce"}
    np.testing.assert_allclose(terms["ce"], expected, rtol=1e-6)


def test_probability_0_leaves_the_batch():
    batch = tiny.batch(dtype=np.float32)
    method = tiny.method("cutmix", probability=0.0)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(tiny.BATCH, tiny.CLASSES)))
    augment = jax.jit(method.augment)
    for seed in range(10):
        after = augment(batch, jax.random.key(seed))
        np.testing.assert_array_equal(after["image"], batch["image"])
        assert after["share"] == 1
        np.testing.assert_array_equal(
            method.classify(logits, after), losses.cross_entropy(logits, batch["label"])
        )


def test_probability():
    method = tiny.method("cutmix", probability=0.3)
    mixed = jax.jit(jax.vmap(lambda key: method.augment(numbered(), key)["share"] < 1))
    # Of the boxes that are drawn a few per cent are of less than two pixels.
    assert 0.24 < mixed(jax.random.split(KEY, 1000)).mean() < 0.34
