import json

import numpy as np
import pytest

from ega_jax.data.source import DataError
from ega_jax.localization import score_map
from ega_jax.modes import centre, score
from tests.helpers.paths import GOLDEN

SIZE = 224


def _write_split(folder, ids, boxes, sizes=True):
    folder.mkdir(parents=True)
    (folder / "image_ids.txt").write_text("\n".join(ids))
    (folder / "class_labels.txt").write_text("\n".join(f"{i},0" for i in ids))
    if sizes:
        (folder / "image_sizes.txt").write_text("\n".join(f"{i},448,224" for i in ids))
    lines = [f"{i},{','.join(map(str, box))}" for i, box in zip(ids, boxes, strict=True)]
    (folder / "localization.txt").write_text("\n".join(lines))


def _write_map(folder, image_id, x0, y0, x1, y1, size=SIZE):
    array = np.zeros((size, size))
    array[y0 : y1 + 1, x0 : x1 + 1] = 1.0
    path = folder / f"{image_id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


@pytest.fixture
def hand_made(tmp_path):
    """Two test images, the first localized and the second missed; one validation image."""
    _write_split(tmp_path / "meta" / "test", ["t/a.jpg", "t/b.jpg"], [(20, 10, 199, 109)] * 2)
    _write_split(tmp_path / "meta" / "val", ["v/a.jpg"], [(20, 10, 199, 109)])
    maps = tmp_path / "maps"
    _write_map(maps, "t/a.jpg", 10, 10, 99, 109)  # x is halved: 448 wide becomes 224
    _write_map(maps, "t/b.jpg", 150, 150, 199, 199)
    _write_map(maps, "v/a.jpg", 10, 10, 99, 109)
    return tmp_path


def _score(root, metadata="meta", **kwargs):
    return score.score(
        str(root / "maps"), str(root / metadata), workdir=str(root / "out"), **kwargs
    )


def test_figures_of_saved_maps(hand_made):
    results = _score(hand_made)
    assert json.loads((hand_made / "out" / "results.json").read_text()) == results
    test = results["test"]
    assert test["images"] == 2
    for kind in ("fixed", "val", "oracle"):
        assert test[kind]["corloc_err"] == 50.0
        assert "top1_loc_err" not in test[kind]
    assert test["oracle"]["max_box_acc_v2"] == 50.0
    assert results["validation"]["fixed"]["corloc_err"] == 0.0
    assert "pxap" not in test and "top1_cls_err" not in test
    assert results["intervals"]["test"]["oracle"]["corloc_err"] == [0.0, 100.0]  # of two images
    assert (hand_made / "out" / "per_image_test.csv").read_text().splitlines() == [
        "image_id,label,threshold,x0,y0,x1,y1,iou,correct,"
        "pointing_game,pointing_game_0px,energy,brighter_outside",
        "t/a.jpg,0,0,20,10,200,110,0.979219,1,1.000000,1.000000,1.000000,0",
        "t/b.jpg,0,0,300,150,400,200,0.000000,0,0.000000,0.000000,0.000000,1",
    ]
    assert (hand_made / "out" / "per_class_validation.csv").read_text().splitlines()[1:] == [
        "0,0,1,0.000000,0.979219,100.000000,100.000000,100.000000,0.000000"
    ]
    assert test["in_boxes"] == {
        "pointing_game": 50.0, "pointing_game_0px": 50.0, "energy": 50.0, "brighter_outside": 50.0
    }  # fmt: skip
    assert results["intervals"]["test"]["in_boxes"]["energy"] == [0.0, 100.0]
    assert "in_masks" not in test
    assert results["warnings"] == []  # half of the maps are not more than half


def test_inverted_maps_are_told_of(hand_made, caplog):
    for image_id in ("t/a.jpg", "t/b.jpg"):
        _write_map(hand_made / "maps", image_id, 10, 10, 99, 109)
        path = hand_made / "maps" / f"{image_id}.npy"
        np.save(path, 1 - np.load(path))
    results = _score(hand_made)
    assert results["test"]["oracle"]["max_box_acc_v2"] == 100.0
    (warning,) = results["warnings"]
    assert warning.startswith(
        "test: 100 % of the maps are brighter outside the true boxes than inside"
    )
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [warning]
    assert json.loads((hand_made / "out" / "results.json").read_text())["warnings"] == [warning]


def test_metadata_of_one_split_gives_no_carried_over_threshold(hand_made):
    results = _score(hand_made, "meta/test")
    assert results["test"]["fixed"]["corloc_err"] == 50.0
    assert "val" not in results["test"] and "validation" not in results


def test_maps_of_another_size_are_resized(hand_made):
    _write_map(hand_made / "maps", "t/a.jpg", 5, 5, 49, 54, size=112)
    assert _score(hand_made)["test"]["fixed"]["corloc_err"] == 50.0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((SIZE, SIZE), 2.0), r"t/b.jpg.npy: .*\[2, 2\].*scale it to \[0, 1\]"),
        (np.full((SIZE, SIZE), np.nan), "t/b.jpg.npy: .*NaN"),
        (np.zeros((1, SIZE, SIZE)), r"t/b.jpg.npy: .*shape \(1, 224, 224\)"),
        (np.array(["x"]), "t/b.jpg.npy: .*dtype"),
    ],
)
def test_a_bad_map_is_named(hand_made, array, message):
    np.save(hand_made / "maps" / "t" / "b.jpg.npy", array)
    with pytest.raises(DataError, match=message):
        _score(hand_made)
    assert not (hand_made / "out" / "results.json").exists()


def test_pickles_are_not_opened(hand_made):
    np.save(hand_made / "maps" / "t" / "b.jpg.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match=r"t/b.jpg.npy"):
        _score(hand_made)


def test_missing_maps_are_found_at_start(hand_made):
    (hand_made / "maps" / "t" / "b.jpg.npy").unlink()
    with pytest.raises(DataError, match=r"1 of 2 heat maps of test .*t/b.jpg.npy"):
        _score(hand_made)


def test_sizes_are_needed_for_boxes(tmp_path):
    _write_split(tmp_path / "meta", ["a.jpg"], [(0, 0, 9, 9)], sizes=False)
    _write_map(tmp_path / "maps", "a.jpg", 0, 0, 9, 9)
    with pytest.raises(DataError, match="image_sizes.txt"):
        _score(tmp_path)


@pytest.mark.parametrize("names", [True, False])
def test_images_of_classes_without_an_object_are_not_scored(hand_made, names):
    """They need neither a box nor a map; classes without names are called as their labels."""
    figures = _score(hand_made)
    for split, image_id in (("test", "t/none.jpg"), ("val", "v/none.jpg")):
        folder = hand_made / "meta" / split
        for name, line in (
            ("image_ids", image_id),
            ("class_labels", f"{image_id},1"),
            ("image_sizes", f"{image_id},448,224"),
        ):
            path = folder / f"{name}.txt"
            path.write_text(f"{line}\n{path.read_text()}")
    if names:
        (hand_made / "meta" / "class_names.txt").write_text("bird\nempty\n")
    with pytest.raises(DataError, match=r"localization.txt has no line for 'v/none.jpg'"):
        _score(hand_made)
    background = ["empty" if names else "1"]
    assert _score(hand_made, background=background)["test"] == figures["test"]
    lines = centre.baseline(
        str(hand_made / "meta"), workdir=str(hand_made / "lines"), background=background
    )
    assert lines["centre_gaussian"]["test"]["images"] == 2
    with pytest.raises(DataError, match=r"'emty', which is to be a class without an object, is no"):
        _score(hand_made, background=["emty"])


def test_a_wrong_folder_of_images_is_named(hand_made):
    with pytest.raises(DataError, match="no image folder 'nowhere'; correct --images"):
        _score(hand_made, images="nowhere")


def test_no_metadata(tmp_path):
    with pytest.raises(DataError, match="neither image_ids.txt nor a folder test"):
        _score(tmp_path, "nothing")


def test_golden_maps_from_files_score_as_in_memory(tmp_path):
    """The reference's figures through files: maps on disk, metadata on disk, results.json."""
    golden = np.load(GOLDEN)
    count = len(golden["cams"])
    ids = [f"{i:02d}.jpg" for i in range(count)]
    folder = tmp_path / "meta"
    folder.mkdir()
    (folder / "image_ids.txt").write_text("\n".join(ids))
    (folder / "class_labels.txt").write_text("\n".join(f"{i},0" for i in ids))
    sizes = golden["image_sizes"]
    (folder / "image_sizes.txt").write_text(
        "\n".join(f"{i},{w},{h}" for i, (w, h) in zip(ids, sizes, strict=True))
    )
    (folder / "localization.txt").write_text(
        "\n".join(
            f"{ids[image]},{','.join(map(str, box))}"
            for image, box in zip(golden["gt_box_image"], golden["gt_boxes"], strict=True)
        )
    )
    (tmp_path / "maps").mkdir()
    for image_id, cam in zip(ids, golden["cams"], strict=True):
        np.save(tmp_path / "maps" / f"{image_id}.npy", score_map(cam, SIZE))
    oracle = _score(tmp_path)["test"]["oracle"]
    assert list(oracle["max_box_acc"].values()) == pytest.approx(golden["v1_max_box_acc"].tolist())
    assert oracle["max_box_acc_v2"] == pytest.approx(golden["v2_max_box_acc"].mean())
