"""The embedded data set: the same bytes every time, exact masks, and fair in what it gives away."""

import hashlib

import numpy as np
import pytest

from ega_jax.data.creatures import draw as painting
from ega_jax.data.creatures.shapes import SPECIES
from ega_jax.data.creatures.source import SPLITS, creatures


def pixels(source):
    return np.stack([source.load_image(np.int64(i)).numpy() for i in range(len(source))])


def masks(source, size):
    return np.stack([source.load_mask(i, size)[0] for i in range(len(source))])


@pytest.fixture(scope="module")
def some():
    return creatures("test", num_images=400)


def test_describes_itself(some):
    assert some.name == "creatures/test"
    assert some.image_ids[:2] == ("test/00000", "test/00001")
    assert len(set(some.image_ids)) == len(some) == 400
    assert len(set(some.class_names)) == some.num_classes == 10
    assert some.labels.dtype == np.int32
    assert some.image_sizes.tolist() == [[96, 96]] * 400
    image = some.load_image(np.int64(3))
    assert image.shape == (96, 96, 3) and image.dtype == np.uint8


def test_default_sizes():
    assert SPLITS == {"train": 4000, "val": 300, "test": 500}
    assert len(creatures("val", image_size=32)) == 300


def test_same_bytes_on_every_machine():
    source = creatures("train", num_images=10)
    digest = hashlib.sha256(pixels(source).tobytes() + masks(source, 96).tobytes()).hexdigest()
    assert digest == "e4b5b34a8b41e03c6ac83203ff8609ddfb2a3823b6b1df55ceb03c9b0eafa77f"


@pytest.mark.parametrize("size", [64, 81])
def test_image_depends_on_seed_split_and_index_alone(size):
    many, few = (creatures("val", num_images=n, image_size=size) for n in (23, 7))
    np.testing.assert_array_equal(pixels(many)[:7], pixels(few))
    np.testing.assert_array_equal(masks(many, size)[:7], masks(few, size))


def test_splits_and_seeds_share_no_image():
    sets = [creatures(split, num_images=30, image_size=32) for split in SPLITS]
    sets.append(creatures("train", num_images=30, image_size=32, seed=1))
    images = {image.tobytes() for source in sets for image in pixels(source)}
    assert len(images) == 120


@pytest.mark.parametrize("num_classes", [2, 7, 10])
def test_labels_are_balanced(num_classes):
    source = creatures("val", num_images=50, image_size=32, num_classes=num_classes)
    counts = np.bincount(source.labels)
    assert len(counts) == source.num_classes == num_classes
    assert counts.max() - counts.min() <= 1


def test_boxes_are_those_of_the_masks(some):
    for (box,), mask in zip(some.boxes, masks(some, 96), strict=True):
        x0, y0, x1, y1 = box
        assert 0 <= x0 < x1 <= 95 and 0 <= y0 < y1 <= 95
        assert mask.sum() == mask[y0 : y1 + 1, x0 : x1 + 1].sum()
        assert mask[y0].any() and mask[y1].any() and mask[:, x0].any() and mask[:, x1].any()


def test_mask_is_the_painted_creature():
    source = creatures("test", num_images=10)
    for label, species in enumerate(SPECIES):
        canvas, _ = painting.paint(np.random.default_rng([0, 2, label]), species, 192)
        cover = (canvas >= painting.CREATURE).reshape(96, 2, 96, 2).mean((1, 3))
        mask, ignore = source.load_mask(label, 96)
        np.testing.assert_array_equal(mask, cover >= 0.5)
        assert not ignore.any()


def test_masks_of_other_sizes_take_the_nearest_pixel(some):
    full = some.load_mask(5, 96)[0]
    np.testing.assert_array_equal(some.load_mask(5, 48)[0], full[::2, ::2])
    enlarged = full.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(some.load_mask(5, 192)[0], enlarged)
    assert some.load_mask(5, 64)[1].shape == (64, 64)


def test_every_part_of_every_species_shows():
    for label, species in enumerate(SPECIES):
        canvas, palette = painting.paint(np.random.default_rng([7, label]), species, 192)
        assert set(range(painting.CREATURE, painting.BEAK + 1)) <= set(np.unique(canvas))
        marks, head = palette[painting.MARK].mean(), palette[painting.HEAD].mean()
        assert (marks < head) == species.dark_marks
        coat, body = palette[painting.COAT].mean(), palette[painting.BODY].mean()
        assert abs(marks - head) > 3 * abs(coat - body) > 0  # the head stands out


def test_no_two_species_share_marks_or_coat():
    assert len({species.marks for species in SPECIES}) == len(SPECIES)
    assert len({species.coat for species in SPECIES}) == len(SPECIES)


def test_creatures_take_a_tenth_to_sixty_percent(some):
    boxes = np.concatenate(some.boxes)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1) / 96**2
    assert 0.1 <= areas.min() < 0.2
    assert 0.45 < areas.max() <= 0.6


@pytest.mark.slow
def test_surroundings_and_place_do_not_tell_the_class():
    """A linear classifier of background, hue, size and place stays at chance."""
    source = creatures("train", num_images=1500, image_size=48)
    images, outside = pixels(source) / 255, ~masks(source, 48)
    boxes = np.concatenate(source.boxes)
    features = [np.ones(len(source))]
    for region in (outside, ~outside):
        weight = region / region.sum((1, 2), keepdims=True)
        mean = np.einsum("nyxc,nyx->nc", images, weight)
        features += [*(mean - mean.mean(1, keepdims=True)).T]  # colour without lightness
        if region is outside:
            features += [*mean.T, *np.einsum("nyxc,nyx->nc", images**2, weight).T]
    features += [(boxes[:, 2:] - boxes[:, :2] + 1).prod(1), *(boxes[:, 2:] + boxes[:, :2]).T]
    features, targets = np.stack(features, 1), np.eye(10)[source.labels]
    features[:, 1:] /= features[:, 1:].std(0)
    solution, *_ = np.linalg.lstsq(features[:1000], targets[:1000])
    accuracy = ((features[1000:] @ solution).argmax(1) == source.labels[1000:]).mean()
    assert accuracy < 0.16  # chance is 0.1, with a standard deviation of 0.013


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("dev", {}, "no split 'dev'; choose one of train, val, test"),
        ("val", {"num_images": 0}, "num_images=0 must be at least 1"),
        ("val", {"image_size": 16}, "image_size=16 must be at least 32"),
        ("val", {"num_classes": 1}, "num_classes=1 must be from 2 to 10"),
        ("val", {"num_classes": 11}, "num_classes=11 must be from 2 to 10"),
    ],
)
def test_refuses_impossible_arguments(split, options, message):
    with pytest.raises(ValueError, match=message):
        creatures(split, **options)
