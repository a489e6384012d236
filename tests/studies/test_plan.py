"""What a study is made of, what it refuses, and the commands that it stands for."""

import importlib

import pytest

from configs import protocol
from ega_jax.config.check import check
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies import search
from ega_jax.studies.plan import Choice, Row, Search, Study, StudyError, Uniform
from ega_jax.studies.runs import Run, runs_of, trial_of
from tests.helpers.study_runs import METRICS, two_rows

STUDIES = {  # arguments after the colon, and how many rows are trained
    "creatures": {"all": 19, "systems": 14, "ablation": 7},
    "table1": {"googlenet": 22, "inception_v3": 22},
    "table2": {"googlenet": 20, "inception_v3": 20},
    "table3": {"googlenet": 20, "inception_v3": 20},
    "table4": {"cub": 11, "ilsvrc": 10},
    "table5": {"googlenet": 27, "inception_v3": 27},
    "table6": {"googlenet": 6, "inception_v3": 6},
    "table7": {None: 5},
    "fig7": {"googlenet": 8, "inception_v3": 8},
    "fig7_photos": {None: 4},
    "photos": {None: 8, "small": 45, "large": 15},
    "search_cub": {"vgg": 6, "inception_v3": 6, "resnet50": 6},
}


def get(name, argument=None):
    make = importlib.import_module(f"configs.studies.{name}").get_config
    return make() if argument is None else make(argument)


def test_a_study_is_rows_times_seeds():
    study = two_rows(fields={"epochs": 2.0})
    given = ("--config.steps=3",)
    runs = [run for row in study.rows for run in runs_of(study, row, study.seeds, given)]
    assert [run.name for run in runs] == ["cam/0", "cam/1", "ega/0", "ega/1"]
    assert runs[3].command("OUT") == [
        "--config=configs/quickstart.py:ega",
        "--config.epochs=2.0",
        "--config.seed=1",
        "--config.steps=3",
        "--workdir=OUT/ega/1",
    ]
    config = runs[1].config()
    assert (config.method, config.ega.enabled) == ("cam", False)
    assert (config.seed, config.steps, config.epochs) == (1, 3, 2.0)


def test_the_last_word_is_that_of_the_user():
    study = two_rows(fields={"epochs": 2.0, "has.grid_sizes": (0, 8)})
    (run,) = runs_of(study, study.row("cam"), (0,), ("--config.epochs=5",), {"cam": {"epochs": 3}})
    assert (run.config().epochs, run.config().has.grid_sizes) == (5.0, (0, 8))


def test_a_row_can_read_the_networks_of_another():
    rows = (*two_rows().rows, Row("ccam", "CCAM", "configs/quickstart.py:ccam", reads="cam"))
    study = two_rows(rows=rows)
    (run,) = runs_of(study, rows[2], (4,), settings={"cam": {"optimizer.learning_rate": 0.5}})
    assert run.reads.name == "cam/4"
    assert run.config().optimizer.learning_rate == 0.5  # that of the network it reads
    assert run.command("OUT")[-3:] == [
        "--mode=eval",
        "--workdir=OUT/ccam/4",
        "--checkpoint=OUT/cam/4/checkpoints/last",
    ]


def test_a_trial_has_a_folder_of_its_own():
    space = {"optimizer.learning_rate": Choice((0.1, 0.2))}
    study = two_rows(search=Search(space, seed=7))
    run = trial_of(study, study.row("cam"), 1, {"optimizer.learning_rate": 0.2})
    assert run.name == "cam/search/1"
    assert (run.config().optimizer.learning_rate, run.config().seed) == (0.2, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": (Row("a", "A"), Row("a", "B"))}, "row 'a' is there twice"),
        ({"rows": ()}, "Two rows: a study needs rows"),
        ({"metrics": {}}, "Two rows: a study needs metrics"),
        ({"seeds": ()}, "Two rows: a study needs seeds"),
        ({"seeds": (0, 1, 0)}, "seed 0 is there twice"),
        ({"seeds": (-1,)}, "seed -1: seeds are whole numbers from 0"),
        ({"rows": (Row("a/b", "A"),)}, "row 'a/b': a name is letters"),
        ({"rows": (Row("a", "A", baseline="b"),)}, "row a: baseline 'b' is no other row; there"),
        ({"rows": (Row("a", "A", reads="a"),)}, "row a: reads 'a' is no other row"),
        ({"rows": (Row("a", "A", "x", reads="b"), Row("b", "B", "x", reads="a"))}, "row a: reads"),
        ({"rows": (Row("a", "A", "x", reads="b"), Row("b", "B"))}, "reads 'b', which trains no"),
        ({"rows": (Row("a", "A", fields={"steps": None}),)}, "row a: config.steps=None: leave it"),
        ({"rows": (Row("a", "A", published={"IoU": 1.0}),)}, "published figures of IoU; the col"),
        ({"rows": (Row("a", "A", fields={"ega.epsilom": 1}),)}, "row a: .*mean config.ega.epsilon"),
        ({"fields": {"seed": 1}}, "the study: config.seed is what the study's seeds are for"),
        ({"search": Search({"steps_": Choice((1,))})}, "the search: config.steps_: there is no"),
    ],
)
def test_refuses_what_cannot_be(change, message):
    with pytest.raises(StudyError, match=message):
        two_rows(**change)


def test_refuses_a_search_of_nothing():
    with pytest.raises(StudyError, match="a Choice needs values"):
        Choice(())
    with pytest.raises(StudyError, match=r"Uniform\(0.0, 1.0, log=True\): low is below high, and"):
        Uniform(0.0, 1.0, log=True)
    with pytest.raises(StudyError, match="low is below high"):
        Uniform(1.0, 0.5)
    with pytest.raises(StudyError, match="trials=0: a search needs at least one"):
        Search({"steps": Choice((1,))}, trials=0)


def test_a_row_that_there_is_not():
    with pytest.raises(StudyError, match="there is no row 'has'; there are cam, ega"):
        two_rows().row("has")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("configs/quickstart.py:eag", "configs/quickstart.py has no row 'eag'; choose one of ega"),
        ("configs/none.py", "configs/none.py"),
        ("configs/studies/table7.py", "is no recipe"),
    ],
)
def test_recipes_that_cannot_be(argument, message):
    with pytest.raises(ConfigError, match=message):
        Run("a/0", (f"--config={argument}",)).config()


def test_what_the_pages_need_survives_as_json():
    study = two_rows(fields={"has.grid_sizes": (0, 8)}, search=Search({"epochs": Choice((1.0,))}))
    again = Study.from_json(study.to_json())
    assert again.rows == study.rows and again.seeds == study.seeds
    assert again.metrics == METRICS and again.search is None
    for facts in (None, [], {}, {"rows": 3}, {"title": "x", "rows": [{}], "metrics": {}}):
        with pytest.raises(StudyError, match="does not describe a study"):
            Study.from_json(facts)


@pytest.mark.parametrize(
    ("name", "argument"), [(name, each) for name, all_ in STUDIES.items() for each in all_]
)
def test_studies_of_the_repository(name, argument, tmp_path, monkeypatch):
    """All their commands are configs that can be, and their grids have settings."""
    study = get(name, argument)
    rows = [row for row in study.rows if row.recipe]
    assert len(rows) == STUDIES[name][argument]
    given = () if name == "creatures" else ("--config.data.root=DIR",)
    for row in rows:
        (run,) = runs_of(study, row, (0,), given)
        config = run.config()
        check(config, num_devices=2)
        if config.model.pretrained != "auto" and name.startswith(("table", "fig")):
            assert config.model.name == "alexnet"
        if study.search is not None and study.search.trials is None:
            assert len(search.trials(study, row, tmp_path, given)) == 5
    titles = [row.title for row in study.rows]
    assert len(set(titles)) == len(titles)


def test_published_figures():
    """Some of each table, as printed in the paper."""
    cls, loc = "Top-1 cls err", "Top-1 loc err"
    assert get("table1").row("vgg_ega").published == {cls: 21.87, loc: 40.84}
    assert get("table1").row("googlenet_spg").published == {loc: 53.36}
    assert get("table2").row("vgg_nl_ccam").published == {cls: 27.7, loc: 49.83}
    assert get("table3").row("vgg_ega").published == {cls: 30.0, "PxAP err": 38.21}
    assert get("table4", "ilsvrc").row("vgg_ega").published == {"MaxBoxAccV2 err": 38.22}
    assert get("table5").row("googlenet_ega").published == {"CorLoc err": 35.17}
    assert get("table6").row("googlenet_adversarial").published == {cls: 27.93, loc: 54.82}
    assert get("table7").row("clean3-adv1").published == {cls: 22.59, loc: 41.94}
    danet = get("table2").row("googlenet_danet")  # no hierarchy of ILSVRC's classes
    assert danet.recipe == "" and danet.published == {cls: 27.5, loc: 52.47}
    assert "ilsvrc" not in protocol.HIERARCHIES
    with pytest.raises(ConfigError, match="table6.py:resnet: choose googlenet or inception_v3"):
        get("table6", "resnet")
