"""The table of docs/evaluation.md is what its command prints, and says what the page says."""

from benchmarks import known_maps
from tests.helpers.paths import ROOT


def test_table_of_known_maps():
    table = known_maps.table()
    assert "\n".join(table) in (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_an_inverted_map_wins_max_box_acc_v2_and_nothing_else():
    names = ("the mask", "1 − the mask", "1 everywhere")
    right, inverted, constant = (
        dict(zip(known_maps.COLUMNS, known_maps.figures(known_maps.MAPS[name]), strict=True))
        for name in names
    )
    outside = right.pop("brighter outside"), inverted.pop("brighter outside")
    assert outside == (0.0, 100.0)
    assert set(right.values()) == {100.0}
    assert inverted.pop("MaxBoxAccV2") > 95
    tolerated = inverted.pop("pointing game")  # some of its many maxima are near the object
    assert 0 < tolerated < 20
    assert all(value <= constant[name] for name, value in inverted.items())


def test_picture_has_four_tiles():
    height, width, channels = known_maps.picture().shape
    assert channels == 3 and width > 3.5 * height
