"""What all networks share: stages that methods put modules behind, and endings."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ega_jax.methods import adl, danet, nl_ccam, spg
from ega_jax.models import NETWORKS
from tests.helpers import tiny
from tests.helpers.runs import PUBLISHED

IMAGES = tiny.batch(size=2, dtype=np.float32)["image"]


@functools.cache
def stages(name, stride):
    """Shapes of a network's features at 64 pixels (AlexNet: 67), all but what its ending makes."""
    network = NETWORKS[name](7, width=1 / 64, feature_stride=stride, batch_norm=name != "alexnet")
    size = 67 if name == "alexnet" else 64

    def features(key, images):
        (_, out), _ = network.init_with_output(key, images, train=False)
        return out

    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    out = jax.eval_shape(features, jax.random.key(0), images)
    return {k: v.shape for k, v in out.items() if k not in ("cams", "classified")}


TABLES = {
    "adl": adl.STAGES,
    "nl_ccam": nl_ccam.STAGES,
    "spg": spg.STAGES,
    "danet": {name: [stage for stage, _ in rows] for name, rows in danet.STAGES.items()},
}
STRIDES = [(name, stride) for name in PUBLISHED for stride in NETWORKS[name].feature_strides]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stride"), STRIDES)
def test_every_stage_of_the_methods_exists(name, stride):
    shapes = stages(name, stride)
    for method, table in TABLES.items():
        assert set(table.get(name, ())) <= set(shapes), method
    assert all(name in table for table in TABLES.values()) == (name != "alexnet")
    sides = [shape[1] for shape in shapes.values()]
    assert all(shape[1] == shape[2] for shape in shapes.values())
    if name != "alexnet":
        assert min(sides) == 64 // stride


@pytest.mark.parametrize(
    ("name", "stage", "before"),
    [("vgg16", "pool4", "conv4_3"), ("inception_v3", "maxpool3", "Mixed_5d")],
)
def test_pools_that_the_finer_stride_lacks(name, stage, before):
    """Their stages exist all the same, as what would go into them."""
    assert stages(name, 16)[stage][1] == stages(name, 16)[before][1] // 2
    assert stages(name, 8)[stage] == stages(name, 8)[before]


def doubled(network, name, x, mode):
    """An insert without a module."""
    del network, name, mode
    return 2 * x


def test_an_insert_changes_what_comes_after():
    plain = tiny.network()
    variables = tiny.variables(plain)
    changed = plain.clone(inserts={"conv3_3": doubled})
    _, before = plain.apply(variables, IMAGES, train=False)
    _, after = changed.apply(variables, IMAGES, train=False)
    names = list(before)
    assert list(after) == names
    place = names.index("conv3_3")
    for name in names[:place]:
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(after["conv3_3"], 2 * before["conv3_3"])
    np.testing.assert_array_equal(after["pool3"], 2 * before["pool3"])  # no pool there
    for name in names[place:]:
        assert np.any(after[name] != before[name])


def test_inserts_know_the_pass_and_have_names_of_their_own():
    seen = []

    def note(network, name, x, mode):
        seen.append((network.num_classes, name, mode))
        return x

    model = tiny.network(dual=True).clone(inserts=dict.fromkeys(("pool2", "conv5_3"), note))
    images = jax.ShapeDtypeStruct(IMAGES.shape, jnp.float32)
    variables = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), images
    )
    seen.clear()
    apply = functools.partial(model.apply, train=True, aux=True, mutable=["batch_stats_aux"])
    jax.eval_shape(apply, variables, images)
    mode = {"train": True, "aux": True}
    assert seen == [(tiny.CLASSES, "insert_pool2", mode), (tiny.CLASSES, "insert_conv5_3", mode)]


def test_unknown_stages_are_refused():
    model = tiny.network().clone(inserts=dict.fromkeys(("pool9", "conv5_3", "conv9"), doubled))
    message = r"SmallVGG has no stage conv9, pool9; there are conv1_2, pool1, .*, conv5_3"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), IMAGES)
