"""SPG: seeds by hand, the loss by its definition, and who teaches whom."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.spg import SPG, seeded_bce, seeds
from ega_jax.models.blocks import ConvBlock
from ega_jax.models.heads import ConvHead
from tests.helpers import tiny

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
METHOD = SPG(thresholds_b2=(0.7, 0.2), thresholds_b1=(0.55, 0.45), thresholds_c=(0.6, 0.4))
MODEL = tiny.network(METHOD, batch_norm=False)
BRANCHES = ("head_b", "head_b1", "head_b2", "head_c")


@pytest.fixture(scope="module")
def variables():
    return tiny.variables(MODEL)


@pytest.fixture(scope="module")
def seen(variables):
    images = tiny.batch(dtype=np.float32)["image"]
    return jax.jit(functools.partial(MODEL.apply, train=False))(variables, images)


def test_seeds_by_hand():
    guide = jnp.array([[[0.9, 0.71, 0.7], [0.5, 0.1, 0.05]]])
    targets, counts = seeds(guide, 0.7, 0.1)
    np.testing.assert_array_equal(targets[0], [[1, 1, 0], [0, 0, 0]])  # bounds do not count
    np.testing.assert_array_equal(counts[0], [[1, 1, 0], [0, 0, 1]])


def test_low_beats_high():
    """Hardly any object: what is above 0.7 of the maximum is, unless it is below `low`."""
    guide = jnp.array([[[0.3, 0.2], [0.25, 0.1]]])
    targets, counts = seeds(guide, 0.7, 0.22)
    np.testing.assert_array_equal(targets[0], [[1, 0], [1, 0]])  # 0.7 * 0.3 = 0.21
    np.testing.assert_array_equal(counts[0], [[1, 1], [1, 1]])
    targets, counts = seeds(guide, 0.7, 0.27)
    np.testing.assert_array_equal(targets[0], [[1, 0], [0, 0]])
    targets, counts = seeds(guide, 0.7, 0.5)
    assert not targets.any() and counts.all()


@pytest.mark.parametrize(("above", "few"), [(29, True), (30, False), (31, False)])
def test_thirty_pixels_are_enough(above, few):
    """At 224 pixels, as in the field's code; the next lower ones are above 0.7 of the maximum."""
    guide = np.full((1, 224 * 224), 0.3, np.float32)
    guide[0, :above], guide[0, above : above + 40] = 0.9, 0.65
    targets, counts = jax.jit(seeds)(jnp.asarray(guide.reshape(1, 224, 224)), 0.7, 0.1)
    assert targets.sum() == counts.sum() == (above + 40 if few else above)


def test_each_image_has_its_own_maximum():
    guide = jnp.array([[[0.5, 0.2], [0.2, 0.2]], [[0.2, 0.1], [0.15, 0.1]]])
    targets, _ = seeds(guide, 0.7, 0.05)
    np.testing.assert_array_equal(targets, [[[1, 0], [0, 0]], [[1, 0], [1, 0]]])


def test_bce_by_hand():
    logits = jnp.array([[[2.0, -1.0], [0.5, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])
    guide = jnp.array([[[0.9, 0.8], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = seeded_bce(logits, guide, 0.7, 0.1)
    softplus = {x: np.log1p(np.exp(x)) for x in (-2, 1, 3)}
    expected = [sum(softplus.values()) / 3, softplus[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_nothing_is_sure():
    """All 0, and nothing below 0: the loss is 0, not 0/0."""
    value, gradient = jax.jit(
        jax.value_and_grad(lambda x: seeded_bce(x, jnp.zeros((1, 2, 2)), 0.7, 0.0).sum())
    )(jnp.ones((1, 2, 2)))
    assert value == 0 and not np.any(gradient)


def test_no_gradient_to_the_guide():
    rng = np.random.default_rng(0)
    logits, guide = (jnp.asarray(rng.uniform(size=(2, 4, 4)), jnp.float32) for _ in range(2))
    gradient = jax.jit(jax.grad(lambda *a: seeded_bce(*a, 0.7, 0.1).sum(), argnums=(0, 1)))
    gradients = gradient(logits, guide)
    assert np.any(gradients[0]) and not np.any(gradients[1])


def test_branches(variables, seen):
    """Two on stages, with a last part in common, and one on what the classifier reads."""
    _, out = seen
    params = variables["params"]
    trunk = {f"conv{stage}" for stage in ("1_2", "2_2", "3_3", "4_3", "5_3")}
    assert set(params) == trunk | {"head", *BRANCHES}
    own, last = ConvBlock(4), ConvHead(1, convs=1, features=4)

    def run(module, name, x):
        return module.apply({"params": params[name]}, x, train=False)

    for name, stage in (("b1", "pool4"), ("b2", "conv5_3")):
        _, expected = run(last, "head_b", run(own, f"head_{name}", out[stage]))
        np.testing.assert_allclose(out[name], expected["cams"][..., 0], rtol=1e-4, atol=1e-5)
    _, expected = run(last, "head_c", out["classified"])
    np.testing.assert_allclose(out["c"], expected["cams"][..., 0], rtol=1e-4, atol=1e-5)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def enlarge(maps, size):
    """Bilinear, borders on borders (PyTorch's align_corners=False), as loops."""
    places = np.clip((np.arange(size) + 0.5) * maps.shape[1] / size - 0.5, 0, maps.shape[1] - 1)
    low = np.floor(places).astype(int)
    high, part = np.minimum(low + 1, maps.shape[1] - 1), places - low
    rows = maps[:, low] * (1 - part)[:, None] + maps[:, high] * part[:, None]
    return rows[:, :, low] * (1 - part) + rows[:, :, high] * part


def test_loss_by_its_definition(seen):
    logits, out = seen
    batch = tiny.batch(dtype=np.float32)
    terms = jax.jit(METHOD.loss)(logits, out, batch, KEY)
    assert set(terms) == {"ce", "seeds_b2", "seeds_b1", "seeds_c"}
    b1, b2, c = (enlarge(np.asarray(out[name], np.float64), 16) for name in ("b1", "b2", "c"))
    cams = np.asarray(out["cams"], np.float64)
    for i, label in enumerate(batch["label"]):
        attention = enlarge(cams[i : i + 1, :, :, label], 16)[0]
        attention = (attention - attention.min()) / (attention.max() - attention.min())
        fused = (sigmoid(b1[i]) + sigmoid(b2[i])) / 2
        for term, branch, guide, (high, low) in (
            ("seeds_b2", b2[i], attention, METHOD.thresholds_b2),
            ("seeds_b1", b1[i], sigmoid(b2[i]), METHOD.thresholds_b1),
            ("seeds_c", c[i], fused, METHOD.thresholds_c),
        ):
            bound = high if (guide > high).any() else 0.7 * guide.max()  # 30 of 224^2: 0.15 of 16^2
            values = []
            for value, g in zip(branch.ravel(), guide.ravel(), strict=True):
                if g < low:
                    values.append(-np.log(1 - sigmoid(value)))
                elif g > bound:
                    values.append(-np.log(sigmoid(value)))
            np.testing.assert_allclose(
                terms[term][i], np.mean(values) if values else 0, rtol=1e-3, atol=1e-6, err_msg=term
            )
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = -np.log(np.take_along_axis(p, batch["label"][:, None], 1)[:, 0])
    np.testing.assert_allclose(terms["ce"], own, rtol=1e-4)


@pytest.fixture(scope="module")
def gradient(variables):
    """A function of a term's name: the gradient of that term alone."""
    return tiny.gradient_of_terms(MODEL, METHOD, variables["params"])


@pytest.mark.parametrize(
    ("term", "heads"),
    [
        ("ce", {"head"}),
        ("seeds_b2", {"head_b", "head_b2"}),
        ("seeds_b1", {"head_b", "head_b1"}),
        ("seeds_c", {"head", "head_c"}),  # of the head its convolutions
    ],
)
def test_who_teaches_whom(gradient, term, heads):
    grads = gradient(term)
    touched = {name for name, tree in grads.items() if any(map(np.any, jax.tree.leaves(tree)))}
    assert {name for name in touched if name.startswith("head")} == heads
    assert "conv1_2" in touched  # all of them teach the trunk
    assert np.any(grads["head"]["classifier"]["kernel"]) == (term == "ce")


def test_only_the_class_map_is_read(seen):
    _, out = seen
    classes = jnp.asarray(tiny.batch()["label"][:, None])
    maps = METHOD.read(tiny.View(None, None, {"cams": out["cams"]}, None), classes)
    for i, (label,) in enumerate(np.asarray(classes)):
        np.testing.assert_array_equal(maps[i, :, :, 0], out["cams"][i, :, :, label])


def test_stages():
    """Behind the pools that halve the maps, as in the field's code; there is one at each stride."""
    branches = {n: METHOD.ending(n).keywords["branches"] for n in METHOD.networks}
    assert branches["vgg16"] == ("pool4", "conv5_3")
    assert branches["inception_v3"] == ("maxpool3", "Mixed_6d")
    assert branches["resnet50"] == ("layer3_0", "layer3_5")
