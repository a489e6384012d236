"""Pictures in tiles, and batches that a device's memory does not suffice for."""

import logging

import numpy as np
import pytest

from ega_jax import Localizer, localization
from ega_jax.evaluation.tiles import Frame, stitch, tiles_of
from ega_jax.runtime.memory import OutOfMemoryError
from tests.helpers.runs import tiny


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (60 + i, 90 - i, 3), np.uint8) for i in range(10)]


@pytest.mark.parametrize("shape", [(90, 60), (7, 11), (1, 1)])
@pytest.mark.parametrize("tiles", [2, 3, 5])
def test_tiles_overlap_and_leave_nothing_out(shape, tiles):
    seen = np.zeros((*shape, 3), np.uint8)
    for frame in tiles_of(32, tiles):
        part = frame.cut(seen, shape)
        assert part.size
        part += 1  # a view of it
    assert seen.min() >= 1
    if min(shape) > 2 * tiles:
        assert seen.max() >= 4  # inside, where four meet
        assert seen[0, 0, 0] == seen[-1, -1, 0] == 1
    assert Frame(32).cut(seen, shape).shape == seen.shape and tiles_of(32, 1) == []


@pytest.mark.parametrize("tiles", [2, 3])
def test_what_agrees_where_it_overlaps_is_put_together_as_it_was(tiles):
    half, batch, classes = 4, 2, 3
    side = (tiles + 1) * half
    whole = np.random.default_rng(0).normal(size=(batch, side, side, classes)).astype(np.float32)
    places = [divmod(place, tiles) for place in range(tiles * tiles)]
    cams = [
        whole[:, half * row : half * (row + 2), half * column : half * (column + 2)]
        for row, column in places
    ]
    np.testing.assert_allclose(stitch(cams), whole, rtol=1e-5, atol=1e-5)


def test_the_middle_of_a_tile_counts_more_than_its_border():
    cams = [np.full((1, 4, 4, 1), value, np.float32) for value in (0, 1, 0, 1)]
    row = stitch(cams)[0, 0, :, 0]
    np.testing.assert_allclose(row, [0, 0, 0.25, 0.75, 1, 1])
    odd = stitch([np.full((1, 3, 3, 1), 2, np.float32)] * 4)
    assert odd.shape == (1, 6, 6, 1)
    np.testing.assert_allclose(odd, 2, rtol=1e-6)


@pytest.mark.slow
def test_maps_of_tiles_are_one_view_more(tiny_run, pictures):
    few, labels = pictures[:3], [1, 2, 3]
    fields = {"eval.map_size": 40, "predict.threshold": 0.5}
    whole = Localizer.load(tiny_run[0], config=tiny(**fields))
    both = Localizer.load(tiny_run[0], config=tiny(**fields, **{"predict.tiles": 2}))
    tiles = tiles_of(32, 2)
    # Raw maps of the tiles, cut by hand, each as a picture of its own.
    batches = list(whole._batches([tile.cut(p, p.shape) for p in few for tile in tiles], None))
    labels_of_tiles = np.repeat(labels, len(tiles))
    cams = []
    for i, (originals, _, batch) in enumerate(batches):
        wanted = np.zeros(8, np.int32)
        wanted[: len(originals)] = labels_of_tiles[8 * i : 8 * i + len(originals)]
        cams += list(whole._views.look(batch, wanted, 1).cams[0][: len(originals)])
    for i, (found, alone) in enumerate(
        zip(both.localize(few, labels), whole.localize(few, labels), strict=True)
    ):
        assert found.score == pytest.approx(alone.score, rel=1e-5)
        stitched = stitch([cam[np.newaxis] for cam in cams[4 * i : 4 * i + 4]])[0, ..., 0]
        maps = [alone.score_map, localization.score_map(stitched, 40)]
        expected = localization.score_map(np.mean(maps, axis=0), 40)
        np.testing.assert_allclose(found.score_map, expected, atol=1e-4)


@pytest.mark.slow
def test_batches_are_halved_where_memory_does_not_suffice(tiny_run, pictures, monkeypatch, caplog):
    localizer = Localizer.load(tiny_run[0], config=tiny(**{"predict.flip": True}))
    expected = localizer.localize(pictures)
    whole, rows = localizer._views._call, []

    def call(kind, batch):
        rows.append(len(batch["image"]))
        if rows[-1] > 4:
            raise OutOfMemoryError("a device's memory does not suffice")
        return whole(kind, batch)

    monkeypatch.setattr(localizer._views, "_call", call)
    monkeypatch.setattr(logging.getLogger("ega_jax"), "propagate", True)
    found = localizer.localize(pictures)
    # Two batches of two halves, mirrored too, for the classes and then the maps; it is tried once.
    assert rows == [8] + [4] * 16
    assert "memory does not suffice; going on with batches of 4" in caplog.text
    for one, other in zip(found, expected, strict=True):
        assert (one.label, one.boxes.tolist()) == (other.label, other.boxes.tolist())
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-5)


def test_less_than_a_picture_for_each_device_is_not_tried(tiny_run, pictures, monkeypatch):
    localizer = Localizer.load(tiny_run[0])
    rows = []

    def call(kind, batch):
        rows.append(len(batch["image"]))
        raise OutOfMemoryError("a device's memory does not suffice")

    monkeypatch.setattr(localizer._views, "_call", call)
    with pytest.raises(OutOfMemoryError):
        localizer.localize(pictures)
    assert rows == [8, 4]  # on four devices
