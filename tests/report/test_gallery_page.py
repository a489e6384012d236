"""The report's gallery in a browser: slider, filters, address, and the evaluator's boxes."""

import time

import numpy as np
import pytest

from ega_jax import localization
from ega_jax.modes import report as mode
from tests.helpers.browser import chromium, complaints, show, wait
from tests.helpers.reported import THRESHOLDS, evaluated
from tests.helpers.scored_splits import SIZE

pytestmark = pytest.mark.slow  # a browser

pytest.importorskip("jinja2")

CARDS = """[...document.querySelectorAll("#gallery > li")].filter((item) => !item.hidden)
    .map((item) => item.querySelector(".card"))"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    folder.mkdir()
    source, maps = evaluated(folder, number=40)
    return mode.report(str(folder)), source, maps


@pytest.fixture(scope="module")
def driver():
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(driver, made):
    show(driver, made[0])
    yield driver
    assert not complaints(driver)


def ids(page):
    return page.execute_script(f"return {CARDS}.map((card) => card.dataset.id)")


def move(page, value, slider="threshold0"):
    page.execute_script(
        f"""{slider}.value = {value};
        {slider}.dispatchEvent(new Event("input", {{ bubbles: true }}));
        {slider}.dispatchEvent(new Event("change", {{ bubbles: true }}));"""
    )


def choose(page, name, value):
    page.execute_script(
        """const field = document.getElementById(arguments[0]);
        field.value = arguments[1];
        field.dispatchEvent(new Event("change", { bubbles: true }));""",
        name,
        value,
    )


def drawn(page):
    """Boxes [x0, y0, x1, y1] and texts by image, as the page shows them."""
    return page.execute_script(
        f"""return Object.fromEntries({CARDS}.map((card) => {{
          const at = (name) => Number(card.querySelector("rect.prediction").getAttribute(name));
          const [x, y] = [at("x"), at("y")];
          const box = [x, y, x + at("width") - 1, y + at("height") - 1];
          return [card.dataset.id, {{ box, text: card.querySelector(".found").textContent }}];
        }}))"""
    )


@pytest.mark.parametrize("number", [0, 20, 63])
def test_boxes_and_ious_are_the_evaluators(page, made, number):
    _, source, maps = made
    move(page, number)
    cards = drawn(page)
    assert len(cards) == len(source)
    for index, score_map in enumerate(maps):
        card = cards[source.image_ids[index]]
        box = localization.boxes_at(score_map, THRESHOLDS[number], multi_contour=False)
        assert card["box"] == box[0].tolist()
        truths = localization.scale_boxes(source.boxes[index], source.image_sizes[index], SIZE)
        iou = localization.box_ious(box, truths).max()
        assert f"{'✓' if iou >= 0.5 else '✗'} IoU {iou:.3f}" in card["text"]
    counts = localization.BoxCounts(THRESHOLDS)
    for index, score_map in enumerate(maps):
        counts.add(score_map, source.boxes[index])
    right = 100 - counts.at(THRESHOLDS[number])["corloc_err"]
    summary = page.execute_script("return summary.textContent")
    assert f"Right boxes in {right:.1f} % of the 40 images" in summary


def alpha_of(page, canvas):
    """How opaque each pixel of a canvas is, row by row."""
    return page.execute_script(
        f"""const context = {canvas}.getContext("2d");
        return [...context.getImageData(0, 0, {SIZE}, {SIZE}).data].filter((_, i) => i % 4 === 3)"""
    )


def test_map_in_the_canvas_is_that_of_the_evaluator(page, made):
    _, source, maps = made
    move(page, 50)
    page.execute_script("document.querySelector('.card[data-id=\"7\"]').scrollIntoView()")
    canvas = "document.querySelector('.card[data-id=\"7\"] canvas.map')"
    wait(page, f"!{canvas}.hidden && {canvas}.width === {SIZE}")
    alpha = alpha_of(page, canvas)
    levels = localization.quantize(maps[7]).astype(float)
    above = levels > int(THRESHOLDS[50] * levels.max())
    expected = np.where(above, 40 + levels * 0.4, levels * 0.2)
    np.testing.assert_allclose(np.reshape(alpha, (SIZE, SIZE)), expected, atol=1)


def test_outline_of_the_true_mask(page, made):
    _, source, _ = made
    page.execute_script("document.querySelector('.card[data-id=\"7\"]').scrollIntoView()")
    canvas = "document.querySelector('.card[data-id=\"7\"] canvas.truth')"
    wait(page, f"{canvas}.width === {SIZE}")
    drawn_in = alpha_of(page, canvas)
    mask, _ = source.load_mask(7, SIZE)
    around = np.pad(mask, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    np.testing.assert_array_equal(np.reshape(drawn_in, (SIZE, SIZE)) > 0, mask & ~inner)


def test_filters_and_orders(page, made):
    _, source, _ = made
    move(page, 70)
    everything = ids(page)
    choose(page, "class", "3")
    assert ids(page) == [
        n for n, label in zip(source.image_ids, source.labels, strict=True) if label == 3
    ]
    choose(page, "class", "")
    choose(page, "show", "wrong-class")
    assert all("✗" in card["text"].split("\n")[0] for card in drawn(page).values())
    choose(page, "show", "wrong-box")
    choose(page, "sort", "iou-up")
    texts = [card["text"] for card in drawn(page).values()]
    assert texts and all("✗ IoU" in text for text in texts)
    wrong = ids(page)
    choose(page, "show", "right-box")
    assert ids(page) and sorted(wrong + ids(page), key=int) == everything
    choose(page, "show", "all")
    order = page.execute_script(
        f"return {CARDS}.map((card) => card.querySelector('.found').textContent)"
    )
    ious = [float(text.rpartition(" ")[2]) for text in order]
    assert ious == sorted(ious)
    choose(page, "sort", "confidence-down")
    order = page.execute_script(
        f"return {CARDS}.map((card) => card.querySelector('.found').textContent)"
    )
    sure = [float(text.split()[2]) for text in order]
    assert sure == sorted(sure, reverse=True)
    choose(page, "iou", "0.3")
    choose(page, "show", "wrong-box")
    assert set(ids(page)) < set(wrong)


def test_layers_can_be_switched_off(page):
    def displayed(selector):
        return page.execute_script(
            f"return getComputedStyle(document.querySelector('.card {selector}')).display"
        )

    page.execute_script("document.querySelector('.card').scrollIntoView()")
    wait(page, "!document.querySelector('.card canvas.map').hidden")
    for name, selector in (
        ("truth", "rect.truth"),
        ("prediction", "rect.prediction"),
        ("map", "canvas.map"),
    ):
        assert displayed(selector) != "none"
        page.execute_script(f"document.getElementById('{name}').click()")
        assert displayed(selector) == "none"


def test_an_address_shows_the_same_again(page, made, driver):
    from selenium.webdriver.common.keys import Keys

    move(page, 40)
    choose(page, "sort", "iou-up")
    choose(page, "show", "wrong-box")
    page.execute_script("truth.click()")
    first, second, *_ = ids(page)
    page.execute_script(f"document.querySelector('.card[data-id=\"{first}\"]').click()")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert page.execute_script("return document.getElementById('one-name').textContent") == second
    address, before = page.execute_script("return [location.hash, summary.textContent]")
    show(driver, made[0], address)
    assert page.execute_script("return document.getElementById('one').open")
    assert page.execute_script("return document.getElementById('one-name').textContent") == second
    assert page.execute_script("return [location.hash, summary.textContent]") == [address, before]
    assert not page.execute_script("return truth.checked") and ids(page)[:2] == [first, second]
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(page, "!document.getElementById('one').open")
    assert page.execute_script("return document.activeElement.dataset.id") == second


def test_by_keyboard_and_for_screen_readers(page):
    from selenium.webdriver.common.keys import Keys

    page.execute_script("threshold0.focus()")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert wait(page, "threshold0.getAttribute('aria-valuetext') === '0.21'")
    page.execute_script("document.querySelector('.card').focus()")
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.execute_script("return document.getElementById('one').open")
    unnamed = page.execute_script(
        """return [...document.querySelectorAll("button, input, select, img, svg[role=img]")]
        .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.alt
                         || e.labels?.length || e.closest("label"))).length"""
    )
    assert unnamed == 0


def test_two_runs_have_a_slider_each(driver, made, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    evaluated(other, number=40, answers=1)
    show(driver, mode.report(str(made[0].parent), compare=str(other)))
    move(driver, 70, "threshold1")
    choose(driver, "iou", "0.3")
    choose(driver, "show", "only-1")
    marks = driver.execute_script(
        f"return {CARDS}.map((c) => [...c.querySelectorAll('.found')].map((t) => t.textContent))"
    )
    assert marks and all("✗ IoU" in one and "✓ IoU" in two for one, two in marks)
    assert driver.execute_script(
        "return new URLSearchParams(location.hash.slice(1)).getAll('t')"
    ) == [
        "0.2",
        "0.7000000000000001",
    ]
    assert not complaints(driver)


@pytest.mark.slow
def test_500_images_are_small_and_quick(driver, tmp_path):
    """Of the sizes of real ones: maps of 14 x 14 cells on 224 pixels, photographs' thumbnails."""
    from ega_jax.evaluation import gallery

    evaluated(tmp_path, images=500, number=500)
    arrays = gallery.load(tmp_path)
    rng = np.random.default_rng(0)
    maps = [localization.score_map(rng.random((14, 14)), 224) for _ in range(20)]
    packed = [gallery.pack_levels(localization.quantize(one)) for one in maps] * 25
    smooth = [
        localization.score_map(
            rng.random(
                (
                    24,
                    24,
                )
            ),
            192,
        )
        for _ in range(60)
    ]
    photos = [(255 * np.stack(smooth[i : i + 3], axis=2)).astype(np.uint8) for i in range(0, 60, 3)]
    thumbnails = [gallery.thumbnail(one, (4, 3)) for one in photos] * 25
    for name, parts in (("maps", packed), ("thumbnails", thumbnails)):
        arrays[name] = np.concatenate(parts)
        arrays[f"{name}/ends"] = np.cumsum([len(part) for part in parts])
    gallery.save(tmp_path, arrays)
    path = mode.report(str(tmp_path))
    assert path.stat().length < 15 * 2**20
    start = time.monotonic()
    show(driver, path)
    seconds = time.monotonic() - start
    print(f"{path.stat().length / 2**20:.1f} MB, {seconds:.2f} s")
    assert len(ids(driver)) == 500
    assert seconds < 2, seconds
    assert not complaints(driver)
