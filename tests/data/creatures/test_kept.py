"""What was drawn once is not drawn again, and nothing but that is taken from the cache."""

import numpy as np
import pytest

from ega_jax.data.creatures import kept, source
from ega_jax.runtime.home import VARIABLE


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path / "creatures"


@pytest.fixture
def drawn(monkeypatch):
    """Counts the images that are drawn."""
    counts, draw = [], source.draw
    monkeypatch.setattr(source, "draw", lambda *a: (counts.append(1), draw(*a))[1])
    return counts


def test_a_second_start_draws_nothing(cache, drawn):
    first = source.creatures("val", num_images=5, image_size=36)
    second = source.creatures("val", num_images=5, image_size=36)
    assert len(drawn) == 5 and len(list(cache.iterdir())) == 1
    for i in range(5):
        np.testing.assert_array_equal(first.load_image(np.int64(i)), second.load_image(np.int64(i)))
        np.testing.assert_array_equal(first.load_mask(i, 36)[0], second.load_mask(i, 36)[0])
        np.testing.assert_array_equal(first.boxes[i], second.boxes[i])


@pytest.mark.parametrize(
    "other",
    [{"split": "test"}, {"num_images": 4}, {"image_size": 37}, {"seed": 1}, {"num_classes": 3}],
)
def test_other_settings_are_drawn(drawn, other):
    settings = {"split": "val", "num_images": 5, "image_size": 36}
    source.creatures(**settings)
    source.creatures(**settings | other)
    assert len(drawn) == 5 + other.get("num_images", 5)


@pytest.mark.parametrize("damage", [b"", b"no archive", None])
def test_a_damaged_file_is_said_and_drawn_anew(cache, drawn, caplog, damage):
    source.creatures("val", num_images=5, image_size=36)
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    at = len(whole) // 2  # in the middle of the images
    path.write_bytes(whole[:at] + b"\x00" * 8 + whole[at + 8 :] if damage is None else damage)
    source.creatures("val", num_images=5, image_size=36)
    assert len(drawn) == 10 and str(path) in caplog.text
    assert path.read_bytes() == whole


def test_what_other_code_has_drawn_is_replaced(cache, drawn, monkeypatch):
    source.creatures("val", num_images=5, image_size=36)
    source.creatures("val", num_images=4, image_size=36)
    monkeypatch.setattr(kept, "_version", lambda: "another")
    source.creatures("val", num_images=5, image_size=36)
    names = sorted(path.name for path in cache.iterdir())
    assert len(drawn) == 14 and len(names) == 2
    assert [name.startswith("val-5-") and ".another." in name for name in names] == [False, True]


def test_a_cache_that_cannot_be_written_is_said(cache, caplog):
    cache.write_text("no folder")
    assert len(source.creatures("val", num_images=5, image_size=36)) == 5
    assert "Not kept for the next start" in caplog.text and str(cache) in caplog.text
