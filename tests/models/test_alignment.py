"""Where the cells of a class map look: the figures of docs/alignment.md, measured."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax import localization
from ega_jax.models import NETWORKS
from tests.helpers.paths import ROOT
from tests.helpers.runs import PUBLISHED

DOCUMENT = ROOT / "docs" / "alignment.md"


def rows():
    """Reads (network, image size, map size, first cell's pixel, displacement) of the document."""
    pattern = r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([-+\d.]+) \|$"
    found = re.findall(pattern, DOCUMENT.read_text(), re.MULTILINE)
    return [(name, *map(float, numbers)) for name, *numbers in found]


HEIGHT, WIDTH = 96, 1120  # far more than the image, whose borders would push the response away


def blurring_network(name, stride):
    """A network whose kernels only blur: a row of its class map for each bright column."""
    network = NETWORKS[name](
        2,
        width=1 / 128,
        feature_stride=stride,
        batch_norm=NETWORKS[name].batch_norms[0],
        head_convs=0,
        input_scaling="signed",
    )
    init = functools.partial(network.init, train=False)
    shape = jax.ShapeDtypeStruct((1, HEIGHT, WIDTH, 3), jnp.float32)
    abstract = dict(jax.eval_shape(init, jax.random.key(0), shape))

    def fill(path, x):
        if path[-1].key == "kernel":  # no kernel prefers a side
            return jnp.full(x.shape, 1 / np.prod(x.shape[:-1]))
        return jnp.full(x.shape, float(path[-1].key in ("scale", "var")))

    variables = jax.tree_util.tree_map_with_path(fill, abstract)

    @jax.jit
    def response(columns):
        signed = jnp.arange(WIDTH)[None, :] == columns[:, None]  # 1 at the column, 0 elsewhere
        images = jnp.broadcast_to(signed[:, None, :, None], (len(columns), HEIGHT, WIDTH, 3))
        _, features = network.apply(variables, (images + 1) / 2, train=False)
        return features["cams"][:, features["cams"].shape[1] // 2, :, 0]

    return response


@pytest.mark.slow
@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]}-{row[2]:.0f}")
def test_cells_look_where_the_document_says(row):
    """A column's response has its centre of mass at the column, on average over a stride."""
    name, size, map_size, stride, first, displacement = row
    stride = int(stride)
    response = blurring_network(name, stride)
    columns = np.arange(WIDTH // 2, WIDTH // 2 + stride)
    answers = np.asarray(response(jnp.asarray(columns)))
    answers = answers - answers.min(axis=1, keepdims=True)
    centres = (answers * np.arange(answers.shape[1])).sum(1) / answers.sum(1)
    np.testing.assert_allclose(np.mean(columns - stride * centres), first, atol=0.05)
    # Two cells in the middle, or one, drawn as the evaluation draws them.
    cam = np.zeros((int(map_size), int(map_size)))
    cells = np.unique([int(map_size - 1) // 2, int(map_size) // 2])
    cam[np.ix_(cells, cells)] = 1
    drawn = localization.score_map(cam, int(size)).clip(0.5).sum(axis=0)
    drawn = (drawn - drawn.min()) @ np.arange(size) / (drawn - drawn.min()).sum()
    np.testing.assert_allclose(drawn - (first + stride * cells.mean()), displacement, atol=1e-3)


def test_every_network_and_stride_is_documented():
    documented = {(name, int(stride)) for name, _, _, stride, _, _ in rows()}
    assert documented == {
        (name, stride) for name in PUBLISHED for stride in NETWORKS[name].feature_strides
    }
