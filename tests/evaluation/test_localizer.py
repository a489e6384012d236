"""A trained network as a function of pictures."""

import numpy as np
import pytest
from PIL import Image

import ega_jax
from ega_jax import Localizer, localization
from ega_jax.data.source import DataError
from ega_jax.evaluation import localizer as localizers
from ega_jax.evaluation import views
from ega_jax.runtime import checkpoints
from ega_jax.runtime.errors import ConfigError
from ega_jax.runtime.memory import OutOfMemoryError
from tests.helpers.runs import tiny
from tests.helpers.score_maps import two_objects


@pytest.fixture(scope="module")
def localizer(tiny_run):
    return Localizer.load(tiny_run[0])


@pytest.fixture(scope="module")
def pictures():
    """Eleven arrays of different shapes: more than a batch."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + i, 70 - i, 3), np.uint8) for i in range(11)]


def test_one_answer_for_each_picture(localizer, pictures, tiny_run):
    found = localizer.localize(pictures)
    assert len(found) == len(pictures)
    for one, picture in zip(found, pictures, strict=True):
        height, width, _ = picture.shape
        assert one.class_name == localizer.class_names[one.label]
        assert 1 / len(localizer.class_names) <= one.score <= 1
        assert one.threshold == tiny_run[1]["validation"]["oracle"]["threshold"]
        assert one.score_map.shape == (32, 32)
        assert one.score_map.min() >= 0 and one.score_map.max() <= 1
        ((x0, y0, x1, y1),) = one.boxes
        assert 0 <= x0 <= x1 < width and 0 <= y0 <= y1 < height
        expected = localization.largest_box(one.score_map, one.threshold, (width, height))
        # That of the evaluator ends a pixel later, or in the map's last pixel.
        assert (x0, y0) == tuple(expected[:2])
        assert x1 in (expected[2] - 1, width - 1) and y1 in (expected[3] - 1, height - 1)


def test_arrays_images_and_paths_are_the_same(localizer, pictures, tmp_path):
    picture = pictures[3]
    Image.fromarray(picture).save(tmp_path / "a.png")
    inputs = [picture, Image.fromarray(picture), tmp_path / "a.png", str(tmp_path / "a.png")]
    one, *others = localizer.localize(inputs)
    for other in others:
        assert (other.label, other.boxes.tolist()) == (one.label, one.boxes.tolist())
        np.testing.assert_allclose(other.score_map, one.score_map, atol=1e-5)  # on another device


def test_an_image_of_16_bits_is_read_as_its_file_is(tmp_path):
    grey = np.arange(48 * 40, dtype="u2").reshape(48, 40) * 33
    Image.fromarray(grey).save(tmp_path / "a.png")
    opened = localizers.as_array(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(opened, localizers.as_array(tmp_path / "a.png"))
    np.testing.assert_array_equal(opened[..., 0], grey >> 8)
    with pytest.raises(ValueError, match="a picture of mode F has pixels of more than 16 bits"):
        localizers.as_array(Image.fromarray(np.ones((4, 4), np.float32)))


def test_a_picture_on_its_side_is_turned(localizer, pictures):
    turned = Image.fromarray(np.rot90(pictures[0]).copy())  # the camera's note says: turn it back
    turned.getexif()[0x0112] = 6
    (one,), (other,) = localizer.localize([turned]), localizer.localize([pictures[0]])
    assert one.boxes.tolist() == other.boxes.tolist()


def test_given_classes_are_found_instead_of_the_likeliest(localizer, pictures):
    likeliest = localizer.localize(pictures)
    labels = [one.label for one in likeliest]
    for one, other in zip(localizer.localize(pictures, labels), likeliest, strict=True):
        assert one.label == other.label and one.score == pytest.approx(other.score, rel=1e-5)
        np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-5)
    others = [(label + 1) % 10 for label in labels]
    found = localizer.localize(pictures, others)
    assert [one.label for one in found] == others
    assert all(a.score <= b.score for a, b in zip(found, likeliest, strict=True))


@pytest.mark.slow
def test_several_classes_best_first(localizer, pictures):
    for classes in localizer.each(pictures[:2], top_k=4):
        assert len({one.label for one in classes}) == 4
        assert [one.score for one in classes] == sorted((o.score for o in classes), reverse=True)


def test_all_objects_above_a_threshold(localizer, pictures):
    (one,) = localizer.localize(pictures[:1], threshold=0.7, boxes="all")
    (largest,) = localizer.localize(pictures[:1], threshold=0.7)
    assert len(one.boxes) >= 1
    np.testing.assert_array_equal(one.boxes[0], largest.boxes[0])


def test_several_objects_and_their_confidences(localizer, pictures, monkeypatch):
    monkeypatch.setattr(views.Seen, "score_map", lambda seen, row, k: two_objects())

    def found(**settings):
        (one,) = localizer.localize([pictures[0]], threshold=0.5, **settings)
        np.testing.assert_allclose(one.confidences[0], one.score)
        return one

    assert len(found().boxes) == 1
    assert len(found(boxes="all").boxes) == 3
    two = found(max_objects=5, smallest=0.05)
    np.testing.assert_allclose(two.confidences, two.score * np.array([1, 0.8]))
    assert [(two.parts == number).sum() for number in (1, 2)] == [135, 24]


def test_objects_are_counted_without_their_holes():
    score_map = np.zeros((32, 32))
    score_map[2:14, 2:14] = 1
    score_map[6:9, 6:9] = 0  # a hole
    score_map[20:24, 20:26] = 0.8
    boxes = localization.find_objects(score_map, 0.5, (64, 32), max_objects=None).boxes
    assert boxes.tolist() == [[4, 2, 27, 13], [40, 20, 51, 23]]
    boxes = localization.find_objects(score_map, 0.9, (64, 32), max_objects=None).boxes
    assert boxes.tolist() == [[4, 2, 27, 13]]


def test_pictures_are_taken_one_batch_at_a_time(localizer, pictures):
    taken = []

    def some():
        for picture in pictures:
            taken.append(picture)
            yield picture

    next(localizer.each(some()))
    assert len(taken) == 8


def test_a_checkpoint_can_be_given_too(tiny_run, pictures):
    path = checkpoints.find(tiny_run[0], "best")
    assert Localizer.load(path).checkpoint == path
    (one,) = Localizer.load(path, config=tiny(**{"predict.threshold": 0.4})).localize(pictures[:1])
    assert one.threshold == 0.4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.localize([np.zeros((4, 4))]), ValueError, r"\[4, 4\] float64"),
        (lambda x: x.localize(["/nowhere.png"]), DataError, "/nowhere.png"),
        (lambda x: x.localize([np.zeros((9, 9, 3), np.uint8)], [10]), ValueError, "label 10"),
        (lambda x: x.localize([], boxes="some"), ValueError, "boxes='some'"),
        (lambda x: x.localize([], max_objects=0), ValueError, "max_objects=0"),
        (lambda x: x.localize([], threshold="best"), ValueError, "threshold='best'"),
        (lambda x: list(x.each([], top_k=11)), ConfigError, "top_k=11: the model has 10"),
        (lambda x: Localizer.load("/nowhere"), ConfigError, "/nowhere"),
    ],
)
def test_what_cannot_work(localizer, call, error, message):
    with pytest.raises(error, match=message):
        call(localizer)


def test_the_front_door_has_these_names_only():
    assert ega_jax.Localizer is Localizer
    with pytest.raises(AttributeError, match="no attribute 'Detector'"):
        ega_jax.Detector  # noqa: B018


@pytest.mark.slow
def test_sizes_and_mirrored_pictures_are_averaged(tiny_run, pictures):
    fields = {"predict.size": 64, "predict.scales": (1.0, 0.5), "predict.flip": True}
    fields["eval.map_size"] = 40
    both = Localizer.load(tiny_run[0], config=tiny(**fields))
    few = pictures[:3]
    labels = [1, 2, 3]
    maps, scores = [], []
    for size in (64, 32):
        one = Localizer.load(
            tiny_run[0], config=tiny(**{"predict.size": size, "eval.map_size": 40})
        )
        for mirrored in (False, True):
            # Mirrored as the network sees it: what it was resized to.
            shown = [localizers.fit(picture, size) for picture in few]
            found = one.localize([x[:, ::-1] if mirrored else x for x in shown], labels)
            maps.append([f.score_map[:, ::-1] if mirrored else f.score_map for f in found])
            scores.append([f.score for f in found])
    for i, found in enumerate(both.localize(few, labels)):
        expected = localization.score_map(np.mean([view[i] for view in maps], axis=0), 40)
        np.testing.assert_allclose(found.score_map, expected, atol=1e-4)
        assert found.score == pytest.approx(np.mean([view[i] for view in scores]), rel=1e-4)
        assert found.boxes[0][2] < few[i].shape[1] and found.boxes[0][3] < few[i].shape[0]
    for classes in both.each(few, top_k=4):
        assert [one.score for one in classes] == sorted((o.score for o in classes), reverse=True)
        assert len({one.label for one in classes}) == 4


def test_several_objects_with_their_confidences(localizer, pictures):
    for one in localizer.localize(pictures, threshold=0.6, max_objects=3, smallest=0.05):
        assert 1 <= len(one.boxes) <= 3
        assert one.confidences[0] <= one.score and len(one.confidences) == len(one.boxes)
        assert set(np.unique(one.parts)) == set(range(len(one.boxes) + 1))
    (own,) = localizer.localize(pictures[:1], threshold="own")
    assert own.threshold == pytest.approx(localization.own_threshold(own.score_map))


def test_memory_that_does_not_suffice_is_told_in_a_line(localizer, pictures, monkeypatch):
    import jax

    def exhausted(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.\nx")

    monkeypatch.setitem(localizer._views._steps, "label", exhausted)
    with pytest.raises(OutOfMemoryError, match="lower config.eval.batch_size=8.*9 bytes"):
        localizer.localize(pictures[:1], [0])
