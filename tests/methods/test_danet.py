"""DANet: heads, the divergent activation term against loops, and maps added by rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods.danet import DANet, enlarge, mean_cosine
from tests.helpers import tiny

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
PARENTS, ROOTS, MAPS = (0, 1, 0, 2, 1), (0, 1, 0, 1, 1), 3
METHOD = DANet(parents=PARENTS, roots=ROOTS, num_maps=MAPS, alpha=0.2)
MODEL = tiny.network(METHOD, batch_norm=False)
LOSS = jax.jit(METHOD.loss)
LEVELS = {"root": (2, (8, 8)), "parent": (3, (4, 4)), "child": (5, (4, 4))}  # labels, map


@pytest.fixture(scope="module")
def seen():
    images = tiny.batch(dtype=np.float32)["image"]
    apply = functools.partial(MODEL.apply, train=False)
    logits, out = jax.jit(apply)(tiny.variables(MODEL), images)
    return logits, out


def draw(seed=0, batch=3):
    """Maps and logits of all levels."""
    rng = np.random.default_rng(seed)
    out = {}
    for level, (labels, size) in LEVELS.items():
        maps = rng.normal(size=(batch, *size, labels, MAPS)).astype(np.float32)
        out[f"maps_{level}"] = jnp.asarray(maps)
        out[f"logits_{level}"] = jnp.asarray(rng.normal(size=(batch, labels)), jnp.float32)
    return out.pop("logits_child"), out


def test_heads(seen):
    logits, out = seen
    for level, (labels, size) in LEVELS.items():
        maps = np.asarray(out[f"maps_{level}"])
        assert maps.shape == (tiny.BATCH, *size, labels, MAPS)
        found = logits if level == "child" else out[f"logits_{level}"]
        np.testing.assert_allclose(found, maps.mean(axis=(1, 2, 4)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["cams"], out["maps_child"].mean(-1), rtol=1e-5, atol=1e-6)
    assert "logits_child" not in out
    params = tiny.variables(MODEL)["params"]
    widths = {
        name: params[name]["conv6_1"]["conv"]["kernel"].shape[-1]
        for name in params
        if "head" in name
    }
    assert widths == {"head_root": 4, "head_parent": 8, "head": 8}


@pytest.mark.parametrize(
    ("values", "size", "expected"),
    [
        ([1, 3], 3, [1, 2, 3]),
        ([0, 2, 6], 5, [0, 1, 2, 4, 6]),
        ([0, 3, 6], 4, [0, 2, 4, 6]),  # cells 0, 2/3, 4/3, 2
        ([5, 1, 2], 3, [5, 1, 2]),
        ([7], 3, [7, 7, 7]),
    ],
)
def test_enlarge_puts_corners_on_corners(values, size, expected):
    maps = jnp.outer(jnp.array(values, jnp.float32), jnp.ones(len(values)))
    both = jnp.stack([maps, maps.T], axis=-1)[None]
    large = enlarge(both, size)
    assert large.shape == (1, size, size, 2)
    for i in range(size):
        np.testing.assert_allclose(large[0, :, i, 0], expected, atol=1e-6)
        np.testing.assert_allclose(large[0, i, :, 1], expected, atol=1e-6)


def naive_cosine(maps):
    """The absolute value of the mean over all pairs, one image `[h, w, m]`."""
    vectors = [maps[..., i].ravel().astype(np.float64) for i in range(maps.shape[-1])]
    values = [
        vectors[i] @ vectors[j] / np.sqrt(vectors[i] @ vectors[i] * (vectors[j] @ vectors[j]))
        for i in range(len(vectors))
        for j in range(i)
    ]
    return abs(np.mean(values))


@pytest.mark.parametrize("count", [2, 5])
def test_mean_cosine(count):
    maps = np.random.default_rng(0).normal(0.1, 1, (4, 3, 5, count)).astype(np.float32)
    expected = [naive_cosine(image) for image in maps]
    np.testing.assert_allclose(jax.jit(mean_cosine)(maps), expected, rtol=1e-4)


def test_mean_cosine_by_hand():
    """Equal maps: 1; opposite ones: |-1|; orthogonal ones: 0; all-zero ones: finite."""
    one = jnp.array([[1.0, 0], [2, 0]])
    other = jnp.array([[0.0, 3], [0, 0]])
    pairs = jnp.stack([jnp.stack(p, -1) for p in ((one, 2 * one), (one, -one), (one, other))])
    np.testing.assert_allclose(jax.jit(mean_cosine)(pairs), [1, 1, 0], atol=1e-6)
    zero = jnp.zeros((1, 2, 2, 3))
    value, gradient = jax.jit(jax.value_and_grad(lambda m: mean_cosine(m).sum()))(zero)
    assert value == 0 and np.isfinite(gradient).all()


def test_loss_terms():
    logits, out = draw()
    label = jnp.array([3, 0, 4])
    terms = LOSS(logits, out, {"label": label}, KEY)
    assert set(terms) == {"ce", "ce_parent", "ce_root", "cosine"}
    for term, values, labels in (
        ("ce", logits, [3, 0, 4]),
        ("ce_parent", out["logits_parent"], [2, 0, 1]),
        ("ce_root", out["logits_root"], [1, 0, 1]),
    ):
        p = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
        np.testing.assert_allclose(terms[term], -np.log(p[range(3), labels]) / 2, rtol=1e-5)


def maps_of_labels(out, label):
    """The 9 maps of one image's labels at 8x8, root, parent, child."""
    parts = []
    for level, chosen in (("root", ROOTS[label]), ("parent", PARENTS[label]), ("child", label)):
        parts.append(enlarge(out[f"maps_{level}"][..., chosen, :], 8))
    return np.asarray(jnp.concatenate(parts, axis=-1))


def test_cosine_term_is_of_half_of_the_maps():
    logits, out = draw()
    label = [3, 0, 4]
    terms = LOSS(logits, out, {"label": jnp.array(label)}, KEY)
    drawn = np.asarray(jax.random.permutation(KEY, 9))[:4]
    expected = [
        0.2 * naive_cosine(maps_of_labels(out, c)[i][..., drawn]) for i, c in enumerate(label)
    ]
    np.testing.assert_allclose(terms["cosine"], expected, rtol=1e-4)


def test_the_maps_are_drawn_for_every_step_and_alike_for_all_images():
    logits, out = draw(batch=1)
    four = jax.tree.map(lambda x: jnp.repeat(x, 4, axis=0), (logits, out))
    values = []
    for seed in range(5):
        terms = LOSS(*four, {"label": jnp.full(4, 3)}, jax.random.key(seed))
        np.testing.assert_allclose(terms["cosine"], terms["cosine"][0], rtol=1e-6)
        values.append(float(terms["cosine"][0]))
    assert len(set(values)) > 2


def test_maps_are_added_by_rank():
    """Class i-th with parent i-th and root i-th; two roots and three parents for five classes."""
    logits, out = draw()
    classes = jnp.array([[0, 3, 2], [1, 4, 0], [2, 2, 3]])
    read = jax.jit(lambda *seen: METHOD.read(tiny.View(None, *seen, None), classes))
    found = read(logits, out)
    assert found.shape == (3, 8, 8, 3)

    def ranked(level, b, rank):
        order = np.argsort(-np.asarray(out[f"logits_{level}"][b]))
        maps = np.asarray(out[f"maps_{level}"])[b : b + 1, :, :, order[min(rank, len(order) - 1)]]
        return maps

    for b in range(3):
        for k in range(3):
            label = int(classes[b, k])
            rank = list(np.argsort(-np.asarray(logits[b]))).index(label)
            parts = [
                ranked("root", b, rank),
                ranked("parent", b, rank),
                np.asarray(out["maps_child"])[b : b + 1, :, :, label],
            ]
            total = sum(
                np.asarray(enlarge(jnp.asarray(np.maximum(p, 0).mean(-1, keepdims=True)), 8))
                for p in parts
            )
            np.testing.assert_allclose(found[b, :, :, k], total[0, ..., 0], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def gradient():
    """A function of a term's name: the gradient of that term alone."""
    return tiny.gradient_of_terms(MODEL, METHOD, tiny.variables(MODEL)["params"])


@pytest.mark.parametrize("term", ["ce", "ce_parent", "ce_root", "cosine"])
def test_who_learns_what(gradient, term):
    grads = gradient(term)
    touched = {name for name, tree in grads.items() if any(map(np.any, jax.tree.leaves(tree)))}
    heads = {
        "ce": {"head"},
        "ce_parent": {"head_parent"},
        "ce_root": {"head_root"},
        "cosine": {"head", "head_parent", "head_root"},
    }[term]
    assert {name for name in touched if name.startswith("head")} == heads
    # A root is told by a low stage: nothing above that learns from it.
    assert ("conv5_3" in touched) == (term in ("ce", "cosine"))
    assert ("conv4_3" in touched) == (term != "ce_root")
