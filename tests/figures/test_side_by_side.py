"""Fig. 5 and 6: runs side by side, from what their evaluations kept."""

import json

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from ega_jax import localization
from ega_jax.figures import side_by_side
from ega_jax.modes import figures as mode
from ega_jax.report.runs import read_run
from ega_jax.runtime.errors import ConfigError
from tests.helpers.reported import evaluated
from tests.helpers.scored_splits import SIZE


@pytest.fixture
def folders(tmp_path):
    """Two runs with maps of their own that were evaluated on one split, without networks."""
    for seed, name in enumerate(("cam", "ega")):
        (tmp_path / name).mkdir()
        evaluated(tmp_path / name, answers=seed)
    return tmp_path / "cam", tmp_path / "ega"


def read(*folders):
    return [read_run(folder) for folder in folders]


def set_threshold(folder, threshold):
    """Carries a threshold over from validation."""
    path = folder / "results.json"
    results = json.loads(path.read_text())
    results["test"]["val"] = results["test"]["fixed"] | {"threshold": threshold}
    path.write_text(json.dumps(results))


def corners(axes):
    boxes = [patch.get_bbox().extents for patch in axes.patches if isinstance(patch, Rectangle)]
    return np.array(boxes).round(6)


def test_boxes_are_those_of_the_evaluator(folders):
    set_threshold(folders[1], 0.6)
    figure = side_by_side.figures(read(*folders), 3)["boxes"]
    grid = np.array(figure.axes).reshape(3, 3)
    assert [line[0].get_ylabel() for line in grid] == ["", "cam", "ega"]
    kept = read_run(folders[0]).kept
    (source, cam), (_, ega) = (evaluated(folder, answers=i) for i, folder in enumerate(folders))
    for column, place in enumerate((0, 12, 24)):  # 25 were kept, all of them with an object
        index = int(kept["image_ids"][place])
        truths = localization.scale_boxes(source.boxes[index], source.image_sizes[index], SIZE)
        assert grid[0, column].get_xlabel() == source.class_names[source.labels[index]]
        inside = (truths + [0, 0, 1, 1]) / SIZE
        np.testing.assert_allclose(corners(grid[0, column]), inside, atol=1e-6)
        for line, maps, threshold in ((grid[1], cam, 0.2), (grid[2], ega, 0.6)):
            box = localization.largest_box(maps[index], threshold, (SIZE, SIZE))
            *drawn, last = corners(line[column])
            np.testing.assert_allclose(drawn, inside, atol=1e-6)
            np.testing.assert_allclose(last, (box + [0, 0, 1, 1]) / SIZE, atol=1e-6)
            iou = localization.box_ious(box[None], truths).max()
            assert line[column].get_xlabel() == f"IoU {iou:.2f}"


def test_masks(tmp_path):
    evaluated(tmp_path, boxes=False)
    (figure,) = side_by_side.figures(read(tmp_path), 2).values()
    assert not any(axes.patches for axes in figure.axes)
    (image,) = side_by_side._shown(read_run(tmp_path), [0])
    truth, found = (figure.axes[place].images[0].get_array() for place in (0, 2))
    source, maps = evaluated(tmp_path, boxes=False)
    places = np.arange(len(truth)) * SIZE // len(truth)
    for shown, inside, channel in (
        (truth, source.load_mask(0, SIZE)[0], 2),
        (found, localization.quantize(maps[0]) >= int(0.2 * 255), 0),
    ):
        tinted = (shown != image.picture).any(axis=2)
        np.testing.assert_array_equal(tinted, inside[places][:, places])
        more = shown.astype(int) - image.picture
        assert more[tinted][:, channel].mean() > 40  # blue or red


def test_masks_are_cut_at_the_threshold_that_validation_found_for_masks(tmp_path):
    evaluated(tmp_path, boxes=False)
    path = tmp_path / "results.json"
    results = json.loads(path.read_text())
    assert results["mask_threshold"] == 0.2  # without validation the fixed one
    path.write_text(json.dumps(results | {"mask_threshold": 0.6}))
    (run,) = read(tmp_path)
    assert (run.mask_threshold, run.threshold) == (0.6, 0.2)
    (figure,) = side_by_side.figures([run], 2).values()
    (image,) = side_by_side._shown(run, [0])
    _, maps = evaluated(tmp_path, boxes=False)
    drawn = figure.axes[2].images[0].get_array()
    places = np.arange(len(drawn)) * SIZE // len(drawn)
    inside = localization.quantize(maps[0]) >= int(0.6 * 255)
    tinted = (drawn != image.picture).any(axis=2)
    np.testing.assert_array_equal(tinted, inside[places][:, places])


def test_maps_without_ground_truth(tmp_path):
    evaluated(tmp_path, boxes=False, masks=False)
    assert side_by_side.figures(read(tmp_path), 2).keys() == {"maps"}


def test_pictures_keep_their_proportions_and_the_page_its_width(folders):
    for number, height in ((6, 0.2), (3, 0.3)):
        width, high = side_by_side.figures(read(*folders), number)["boxes"].get_size_inches()
        assert width <= 7.0 and high / width > height
    axes = side_by_side.figures(read(folders[0]), 1)["boxes"].axes[0]
    height, width = axes.images[0].get_array().shape[:2]
    assert axes.get_aspect() == height / width


@pytest.mark.slow
def test_files_of_runs_without_networks(folders):
    """As `backprop` and `ccam` of a study are, which read the network of another row."""
    made = mode.figures(str(folders[0]), [str(folders[1])])
    assert [path.relative_to(folders[0]).as_posix() for path in made] == [
        *("figures/boxes.png", "figures/boxes.svg", "figures/masks.png", "figures/masks.svg"),
    ]
    with Image.open(made[0]) as picture:
        assert picture.width == 2100  # 7 inches of 300 dots
    assert "<svg" in made[1].read_text()


def test_what_cannot_be_put_side_by_side(folders, tmp_path):
    with pytest.raises(ConfigError, match="--compare=.*cam: is the same run"):
        mode.figures(str(folders[0]), [str(folders[0])])
    run = read_run(folders[0])
    other = read_run(folders[1])
    other.kept["class_names"] = np.array([f"other {name}" for name in other.kept["class_names"]])
    with pytest.raises(ConfigError, match="cam and ega have no image in common"):
        side_by_side.figures([run, other], 3)
    run.kept["has_object"][:] = False
    with pytest.raises(ConfigError, match=r"cam: no image of an object was kept by all; --mode=ev"):
        side_by_side.figures([run], 3)
