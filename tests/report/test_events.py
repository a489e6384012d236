"""Curves read off the files that the run's own writer writes."""

import pytest
from clu import metric_writers

from ega_jax.report.events import read_curves


def write(folder, steps, factor=1.0):
    writer = metric_writers.SummaryWriter(str(folder))
    for step in steps:
        writer.write_scalars(step, {"train/loss": factor * step, "val/pxap": 2.0 * step})
    writer.close()


def test_scalars_by_tag_and_step(tmp_path):
    write(tmp_path, (2, 4, 6))
    assert read_curves(tmp_path) == {
        "train/loss": [(2, 2.0), (4, 4.0), (6, 6.0)],
        "val/pxap": [(2, 4.0), (4, 8.0), (6, 12.0)],
    }
    assert read_curves(tmp_path / "empty") == {}


def test_of_a_step_made_twice_the_later_counts(tmp_path):
    write(tmp_path, (2, 4))
    (first,) = tmp_path.glob("events*")
    first.rename(tmp_path / "events.out.tfevents.0000000001.host")
    write(tmp_path, (4, 6), factor=10.0)
    assert read_curves(tmp_path)["train/loss"] == [(2, 2.0), (4, 40.0), (6, 60.0)]


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_a_file_cut_off_is_read_up_to_there(tmp_path, cut):
    write(tmp_path, (2, 4))
    (path,) = tmp_path.glob("events*")
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_curves(tmp_path)["train/loss"][0] == (2, 2.0)
    assert len(read_curves(tmp_path).get("val/pxap", [])) <= 2
