"""VGG16-GAP, its blocks and its head: sizes, parameter counts, class maps, precision."""

import functools
import math

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.models.blocks import ConvBlock
from ega_jax.models.heads import ConvHead
from ega_jax.models.inputs import SCALINGS
from ega_jax.models.norm import AUX, MAIN
from ega_jax.models.vgg import VGG16
from tests.helpers import tiny

NARROW = {"num_classes": 5, "width": 1 / 64, "feature_stride": 8}


def abstract_init(model, image_size=224):
    init = functools.partial(model.init, train=False)
    return jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(2, 16, 16, 3)), jnp.float32)


@pytest.fixture(scope="module")
def narrow(images):
    """A network that is all there but for its width, and its variables."""
    model = VGG16(**NARROW, dual=True)
    return model, tiny.variables(model, shape=images.shape)


def evaluate(model, variables, images, **mode):
    return jax.jit(functools.partial(model.apply, train=False, **mode))(variables, images)


@pytest.mark.parametrize(
    ("stride", "image_size", "map_size"),
    [(16, 224, 14), (8, 224, 28), (8, 64, 8), (16, 64, 4), (8, 112, 14)],
)
def test_map_size(stride, image_size, map_size):
    model = VGG16(1000, feature_stride=stride, dual=True)
    images = jax.ShapeDtypeStruct((3, image_size, image_size, 3), jnp.float32)
    apply = functools.partial(model.apply, train=False)
    logits, out = jax.eval_shape(apply, abstract_init(model, image_size), images)
    assert logits.shape == (3, 1000)
    assert out["cams"].shape == (3, map_size, map_size, 1000)
    assert out["conv5_3"].shape == (3, map_size, map_size, 512)


def test_parameter_count():
    trunk = 14_714_688  # the 13 convolutions of torchvision's vgg16().features
    head = (512 * 9 * 1024 + 1024) + (1024 * 9 * 1024 + 1024) + (1024 * 1000 + 1000)
    channels = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512 + 2 * 1024  # normalised: trunk and head
    plain = abstract_init(VGG16(1000, batch_norm=False))
    assert count(plain["params"]) == trunk + head == 29_897_512
    single = abstract_init(VGG16(1000))
    assert count(single["params"]) == 29_897_512 + 2 * channels
    assert count(single[MAIN]) == 2 * channels
    dual = abstract_init(VGG16(1000, dual=True))
    assert count(dual["params"]) == 29_897_512 + 4 * channels
    assert count(dual[MAIN]) == count(dual[AUX]) == 2 * channels
    # The auxiliary branch costs well under AdvProp's half per cent of the parameters.
    assert count(dual["params"]) < 1.005 * count(single["params"])


def test_width_scales_channels_not_classes():
    half = abstract_init(VGG16(7, width=0.5))["params"]
    assert half["conv1_1"]["conv"]["kernel"].shape == (3, 3, 3, 32)
    assert half["conv5_3"]["conv"]["kernel"].shape == (3, 3, 256, 256)
    assert half["head"]["conv6_2"]["conv"]["kernel"].shape == (3, 3, 512, 512)
    assert half["head"]["classifier"]["kernel"].shape == (1, 1, 512, 7)
    assert len(half) == 13 + 1


@pytest.mark.parametrize("dual", [False, True])
def test_without_batch_norm(dual):
    variables = abstract_init(VGG16(5, batch_norm=False, dual=dual))
    assert set(variables) == {"params"}
    names = {name for path in flax.traverse_util.flatten_dict(variables["params"]) for name in path}
    assert names.isdisjoint({"bn", "main", "aux"})


@pytest.mark.parametrize("aux", [False, True])
def test_logits_are_the_mean_of_the_maps(narrow, images, aux):
    model, variables = narrow
    logits, out = evaluate(model, variables, images, aux=aux)
    assert np.ptp(logits) > 1e-3
    np.testing.assert_allclose(logits, out["cams"].mean(axis=(1, 2)), rtol=1e-6, atol=1e-7)


def test_maps_are_the_weighted_features():
    """Eq. 1-3: averaging the maps equals weighting the averaged features."""
    rng = np.random.default_rng(0)
    head = ConvHead(4, features=6)
    x = jnp.asarray(rng.normal(size=(2, 5, 5, 3)), jnp.float32)
    variables = tiny.variables(head, shape=x.shape)
    (logits, out), state = head.apply(
        variables, x, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    features = state["intermediates"]["conv6_2"]["__call__"][0]
    weights = variables["params"]["classifier"]["kernel"][0, 0]
    bias = variables["params"]["classifier"]["bias"]
    np.testing.assert_allclose(
        logits, features.mean(axis=(1, 2)) @ weights + bias, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        out["cams"][1, 2, 3, 1], features[1, 2, 3] @ weights[:, 1] + bias[1], rtol=1e-5, atol=1e-6
    )


def test_images_are_normalized_inside(images):
    """The first convolution sees (image - mean) / std: an image of the mean colour becomes 0."""
    mean, std = SCALINGS["imagenet"]
    np.testing.assert_allclose(mean, (0.485, 0.456, 0.406))
    np.testing.assert_allclose(std, (0.229, 0.224, 0.225))
    model = VGG16(**NARROW, batch_norm=False)
    variables = tiny.variables(model, shape=images.shape)
    variables["params"]["conv1_1"]["conv"]["bias"] *= 0
    kernel = variables["params"]["conv1_1"]["conv"]["kernel"]

    @jax.jit
    def first(image):
        _, state = model.apply(
            variables,
            image,
            train=False,
            capture_intermediates=lambda module, _: module.name == "conv1_1",
            mutable=["intermediates"],
        )
        return state["intermediates"]["conv1_1"]["__call__"][0]

    mean_colour = jnp.broadcast_to(jnp.array(mean), (1, 16, 16, 3))
    np.testing.assert_allclose(first(mean_colour), 0.0, atol=1e-6)
    normalized = (np.asarray(images) - np.array(mean)) / np.array(std)
    expected = (normalized[0, 4:7, 7:10] * np.asarray(kernel)[..., 0]).sum()
    np.testing.assert_allclose(first(images)[0, 5, 8, 0], max(expected, 0.0), rtol=1e-4, atol=1e-5)


def test_bfloat16_computes_only(narrow, images):
    _, variables = narrow
    low = VGG16(**NARROW, dual=True, dtype=jnp.bfloat16)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(abstract_init(low)))
    apply = functools.partial(low.apply, train=True, aux=True, mutable=[AUX])
    (logits, out), update = jax.eval_shape(apply, variables, images)
    assert logits.dtype == out["cams"].dtype == jnp.float32
    assert out["conv5_3"].dtype == jnp.bfloat16
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(update))


@pytest.mark.slow
def test_bfloat16_agrees_roughly(narrow, images):
    model, variables = narrow
    logits, _ = evaluate(model, variables, images)
    low, _ = evaluate(VGG16(**NARROW, dual=True, dtype=jnp.bfloat16), variables, images)
    np.testing.assert_allclose(low, logits, atol=0.05 * np.abs(logits).max())
    assert np.any(low != logits)


def test_maps_keep_small_differences_in_bfloat16():
    """Half precision of a map with an offset of 10 would have steps of 1/16."""
    head = ConvHead(1, convs=0, dtype=jnp.bfloat16)
    x = jnp.linspace(0, 1, 64, dtype=jnp.bfloat16).reshape(1, 8, 8, 1)
    params = {"classifier": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.array([10.0])}}
    _, out = head.apply({"params": params}, x, train=False)
    np.testing.assert_allclose(out["cams"] - 10, x.astype(jnp.float32), atol=1e-5)


@pytest.mark.parametrize("convs", [0, 1])
def test_dropout_before_the_classifier(convs):
    """Behind an average a channel is dropped as a whole; between convolutions each pixel is."""
    head = ConvHead(1, convs=convs, features=1, dropout=0.5)
    x = jnp.ones((64, 3, 3, 1))
    variables = tiny.variables(head, shape=x.shape)
    if convs:
        variables["params"]["conv6_1"]["conv"]["kernel"] *= 0
        variables["params"]["conv6_1"]["conv"]["bias"] = jnp.ones(1)
    _, out = head.apply(variables, x, train=True, rngs={"dropout": jax.random.key(0)})
    maps = np.asarray(out["cams"])
    values = [len(np.unique(m)) for m in maps]
    assert max(values) == (2 if convs else 1)
    assert len(np.unique(maps)) == 2  # dropped, and doubled


@pytest.mark.slow
def test_dropout_in_training_only():
    head = ConvHead(4, features=16, dropout=0.5)
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 4, 4, 3)), jnp.float32)
    variables = tiny.variables(head, shape=x.shape)

    @functools.partial(jax.jit, static_argnums=0)
    def logits(train, seed):
        return head.apply(variables, x, train=train, rngs={"dropout": jax.random.key(seed)})[0]

    np.testing.assert_array_equal(logits(False, 0), logits(False, 1))
    np.testing.assert_array_equal(logits(True, 0), logits(True, 0))
    assert np.any(logits(True, 0) != logits(True, 1))
    without, _ = ConvHead(4, features=16).apply(variables, x, train=True)
    np.testing.assert_allclose(logits(False, 0), without, rtol=1e-6)


def test_block_by_hand():
    """A 1x1 block: 2 * 3 - 10 + 1 = -3 is cut to 0, 2 * 5 - 10 + 1 = 1 stays."""
    block = ConvBlock(1, kernel_size=1)
    params = {"conv": {"kernel": jnp.array([[[[2.0], [-1.0]]]]), "bias": jnp.array([1.0])}}
    x = jnp.array([[3.0, 10.0], [5.0, 10.0]]).reshape(1, 2, 1, 2)
    np.testing.assert_array_equal(block.apply({"params": params}, x, train=True).ravel(), [0, 1])


def test_blocks_initialise_as_the_field_does():
    """He over the fan-out keeps a deep ReLU trunk's signal; biases begin at 0."""
    block = ConvBlock(128)
    variables = block.init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)), train=False)
    kernel = variables["params"]["conv"]["kernel"]
    np.testing.assert_allclose(kernel.std(), math.sqrt(2 / (9 * 128)), rtol=0.02)
    assert np.all(variables["params"]["conv"]["bias"] == 0)
