"""Readers against their papers' formulas as loops, on every module and system."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from ega_jax.config import build
from ega_jax.methods import METHODS, readers
from ega_jax.methods.readers import READERS
from ega_jax.runtime.errors import ConfigError
from tests.helpers import tiny
from tests.helpers.runs import tiny as tiny_run_config

pytestmark = pytest.mark.slow

MODEL = tiny.network()
IMAGES = jnp.asarray(tiny.batch(size=2, dtype=np.float32)["image"])
CLASSES = jnp.array([[0, 3], [4, 1]])
HIERARCHY = {
    "parents": (0, 1, 0, 2, 1),
    "roots": (0, 1, 0, 1, 1),
    "num_maps": 8,
    "alpha": 0.01,
}


@pytest.fixture(scope="module")
def variables():
    return tiny.variables(MODEL)


def read(model, variables, name, layer, images=IMAGES):
    """Maps of `CLASSES` by a reader, compiled."""

    @jax.jit
    def maps(variables, images):
        view = tiny.view(model, variables, images)
        return READERS[name](view, CLASSES, layer=layer)

    return np.asarray(maps(variables, images))


def tail(variables):
    """The network from the input of conv5_3 on, put together again by hand."""
    params, stats = variables["params"], variables["batch_stats"]

    def norm(x, p, s):
        p, s = p["bn"]["main"], s["bn"]["main"]
        return (x - s["mean"]) / jnp.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]

    def block(x, p, s):
        y = jax.lax.conv_general_dilated(
            x, p["conv"]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(norm(y + p["conv"]["bias"], p, s))

    def logits(x):
        x = block(x, params["conv5_3"], stats["conv5_3"])
        for name in ("conv6_1", "conv6_2"):
            x = block(x, params["head"][name], stats["head"][name])
        classifier = params["head"]["classifier"]
        return (x @ classifier["kernel"][0, 0] + classifier["bias"]).mean(axis=(1, 2))

    return logits


@pytest.fixture(scope="module")
def explained(variables):
    """The input of conv5_3 `[2, 4, 4, 8]`, and the gradients by class `[2, 2, 4, 4, 8]`."""
    logits, out = jax.jit(functools.partial(MODEL.apply, train=False))(variables, IMAGES)
    rest = jax.jit(tail(variables))
    np.testing.assert_allclose(rest(out["pool4"]), logits, rtol=1e-4, atol=1e-5)
    jacobian = jax.jit(jax.jacrev(lambda f: tail(variables)(f[None])[0]))
    gradients = np.stack([jacobian(f)[c] for f, c in zip(out["pool4"], CLASSES, strict=True)])
    return np.asarray(out["pool4"], np.float64), gradients.astype(np.float64)


def naive(name, features, gradient):
    """A map `[h, w]` of one class, channel by channel."""
    total = 0.0
    for k in range(features.shape[-1]):
        f, g = features[..., k], gradient[..., k]
        if name == "grad_cam":
            total = total + g.mean() * f
        elif name == "layer_cam":
            total = total + np.maximum(g, 0) * f
        else:
            weight = 0.0
            for value in g.ravel():
                below = 2 * value**2 + f.sum() * value**3
                weight += value**2 / (below or 1) * max(value, 0)
            total = total + weight * f
    return np.maximum(total, 0)


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_pp", "layer_cam"])
def test_gradient_readers(variables, explained, name):
    features, gradients = explained
    maps = read(MODEL, variables, name, "conv5_3")
    assert maps.shape == (2, 4, 4, 2) and maps.dtype == np.float32
    for b in range(2):
        for k in range(2):
            expected = naive(name, features[b], gradients[b, k])
            np.testing.assert_allclose(
                maps[b, :, :, k], expected, rtol=1e-3, atol=1e-5 * expected.max() + 1e-8
            )
    assert maps.max() > 0


def test_score_cam(variables, explained):
    """A forward pass of one masked image after another."""
    features, _ = explained
    forward = jax.jit(lambda x: jax.nn.softmax(MODEL.apply(variables, x, train=False)[0]))
    for_all = read(MODEL, variables, "score_cam", "conv5_3")
    for b in range(2):
        scores = []
        for k in range(8):
            channel = jax.image.resize(jnp.asarray(features[b, ..., k]), (16, 16), "bilinear")
            span = channel.max() - channel.min()
            mask = (channel - channel.min()) / span if span > 0 else 0 * channel
            scores.append(np.asarray(forward(IMAGES[b : b + 1] * mask[None, ..., None])[0]))
        scores = np.exp(scores) / np.exp(scores).sum(axis=0)
        for i, label in enumerate(CLASSES[b]):
            expected = np.maximum((features[b] * scores[:, label]).sum(-1), 0)
            np.testing.assert_allclose(for_all[b, :, :, i], expected, rtol=1e-4, atol=1e-6)


def test_score_cam_in_batches_of_channels(variables, monkeypatch):
    """Eight channels by three, and all at once."""
    expected = read(MODEL, variables, "score_cam", "head")
    monkeypatch.setattr(readers, "_AT_ONCE", 3)
    found = read(MODEL, variables, "score_cam", "head")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam"])
def test_before_the_classifier_they_are_cam(variables, name):
    """There the gradient is the class's weight over h*w: CAM without bias, or its positive part."""
    maps = read(MODEL, variables, name, "head/classifier")
    _, out = MODEL.apply(variables, IMAGES, train=False)
    classifier = variables["params"]["head"]["classifier"]
    for b in range(2):
        for k, label in enumerate(CLASSES[b]):
            weights = classifier["kernel"][0, 0, :, label]
            if name == "grad_cam":
                sums = np.asarray(out["cams"][b, :, :, label] - classifier["bias"][label])
            else:
                sums = np.asarray(out["classified"][b]) @ np.maximum(weights, 0)
            expected = np.maximum(sums, 0) / 16
            np.testing.assert_allclose(maps[b, :, :, k], expected, rtol=1e-4, atol=1e-6)


def test_reads_the_trained_network_unchanged(variables, explained):
    """What is added to a module's input is 0; other modules see nothing of it."""
    features, _ = explained
    forward = functools.partial(MODEL.apply, variables, train=False)
    logits, found = readers._apply(forward, IMAGES, "conv5_3")
    np.testing.assert_array_equal(logits, forward(IMAGES)[0])
    np.testing.assert_allclose(found, features, rtol=1e-3, atol=1e-5)
    changed, before = readers._apply(forward, IMAGES, "conv5_3", 0.5)
    np.testing.assert_array_equal(before, found)
    np.testing.assert_allclose(changed, tail(variables)(found + 0.5), rtol=1e-4, atol=1e-5)


# HaS and CutMix have CAM's network, and CAM's way to read it.
@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("has", "cutmix")])
def test_every_system_can_be_explained(name):
    """By a gradient, by masked images, and in the system's own way, for several classes at once."""
    method = METHODS[name](**HIERARCHY) if name == "danet" else tiny.method(name)
    model = tiny.network(method)
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), IMAGES
    )

    def maps(variables, images):
        view = tiny.view(model, variables, images)
        found = [READERS[r](view, CLASSES, layer="conv5_3") for r in ("layer_cam", "score_cam")]
        return found, method.read(view, CLASSES)

    found, own = jax.eval_shape(maps, variables, IMAGES)
    assert all(m.shape == (2, 4, 4, 2) and m.dtype == jnp.float32 for m in found)
    assert own.shape == ((2, 8, 8, 2) if name == "danet" else (2, 4, 4, 2))
    assert own.dtype == jnp.float32


def test_bfloat16():
    model = tiny.network(dtype=jnp.bfloat16)
    variables = tiny.variables(model)
    for name in ("grad_cam", "score_cam"):
        maps = read(model, variables, name, "conv5_3")
        assert maps.dtype == np.float32 and np.isfinite(maps).all()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("head/clasifier", "no module 'head/clasifier'; there are conv1_2, .*, head and those"),
        ("conv9", "no module 'conv9'"),
        ("", "no module ''"),
    ],
)
def test_unknown_module(variables, reader, layer, message):
    view = tiny.view(MODEL, variables, IMAGES)
    with pytest.raises(KeyError, match=message):
        jax.eval_shape(lambda: READERS[reader](view, CLASSES, layer=layer))


@pytest.mark.parametrize("reader", READERS)
def test_unknown_module_is_found_at_start(reader):
    """By all modes, as each builds its reader before the first batch."""
    settings = quickstart.get_config("cam")
    settings.reader.name, settings.reader.layer = reader, "conv5_4"
    model = build.model(settings, 10)
    with pytest.raises(ConfigError, match=r"config\.reader\.layer='conv5_4': .*conv5_3, head"):
        build.reader(settings, model)
    settings.reader.layer = "conv5_3"
    assert build.reader(settings, model).keywords == {"layer": "conv5_3"}


def test_module_that_is_called_twice():
    settings = quickstart.get_config("spg")
    settings.reader.name, settings.reader.layer = "grad_cam", "head_b"
    with pytest.raises(ConfigError, match="calls 'head_b' 2 times; choose another"):
        build.reader(settings, build.model(settings, 10))


def test_modes_stop_before_they_compute(tmp_path, tiny_run):
    from ega_jax.modes import evaluate, predict, train

    settings = tiny_run_config(**{"reader.name": "layer_cam", "reader.layer": "conv6"})
    workdir, _ = tiny_run
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"not looked at")
    for call in (
        lambda: train.Trainer(settings, str(tmp_path / "new")),
        lambda: evaluate.evaluate(settings, str(workdir)),
        lambda: predict.predict(settings, str(workdir), str(tmp_path / "pictures")),
    ):
        with pytest.raises(ConfigError, match=r"config\.reader\.layer='conv6'"):
            call()
    assert not (tmp_path / "new").exists()
