"""What is logged of the steps: means over images, the rates of the step, images a second."""

import numpy as np
import pytest

from ega_jax.training import progress


class Writer:
    """Keeps what TensorBoard would get."""

    def __init__(self):
        self.written = {}

    def write_scalars(self, step, scalars):
        self.written[step] = scalars


def sums(count, loss, norm):
    values = {"count": count, "loss": loss * count, "grad_norm": norm}
    return {name: np.float32(value) for name, value in values.items()}


@pytest.fixture
def clock(monkeypatch):
    """A clock that is put on by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_means_over_images_and_the_speed(clock):
    writer = Writer()
    rates = {"learning_rate": lambda step: 0.1 * step}
    told = progress.Progress(writer, rates, first=10, total=14, batch_size=8)
    told.add(11, sums(8, loss=1.0, norm=3.0))
    clock[0] += 2.0  # the first step is not counted: compiling it took long
    told.add(12, sums(4, loss=4.0, norm=5.0))
    told.report()
    expected = {"loss": 2.0, "grad_norm": 4.0, "learning_rate": 1.1, "images_per_second": 4.0}
    written = {name.removeprefix("train/"): value for name, value in writer.written[12].items()}
    assert written == pytest.approx(expected)

    told.add(13, sums(8, loss=0.5, norm=1.0))
    clock[0] += 1.0
    with told.pause():
        clock[0] += 50.0  # something else than training
    told.report()
    assert writer.written[13]["train/loss"] == pytest.approx(0.5)
    assert writer.written[13]["train/learning_rate"] == pytest.approx(1.2)
    assert writer.written[13]["train/images_per_second"] == pytest.approx(8.0)
    assert told.overall() == pytest.approx(16 / 3)


def test_a_run_that_ends_so_says_so_in_its_folder_until_it_goes_on(tmp_path):
    with pytest.raises(ZeroDivisionError), progress.remember_loss(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    with pytest.raises(progress.NonFiniteLoss), progress.remember_loss(tmp_path / "new"):
        raise progress.NonFiniteLoss("step 2: loss not finite")
    assert (tmp_path / "new" / progress.LOST).read_text() == "step 2: loss not finite\n"
    with progress.remember_loss(tmp_path / "new"):
        assert not list((tmp_path / "new").iterdir())


def test_a_loss_that_is_not_finite_names_step_and_terms():
    told = progress.Progress(Writer(), {}, first=0, total=9, batch_size=8)
    told.add(1, sums(8, loss=1.0, norm=1.0))
    told.add(2, sums(8, loss=np.nan, norm=np.inf))
    with pytest.raises(progress.NonFiniteLoss, match="step 2: grad_norm, loss not finite"):
        told.check()
