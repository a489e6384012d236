from ega_jax.evaluation.tables import table

FIGURES = {
    "images": 500,
    "top1_cls_err": 3.2,
    "fixed": {"threshold": 0.2, "corloc_err": 61.0, "box_acc": {"50": 39.0}},
    "oracle": {"threshold": 0.55, "corloc_err": 40.0, "max_box_acc": {"50": 60.0}},
    "pxap": 71.25,
}


def test_table_has_a_column_for_each_threshold_and_a_row_for_each_figure():
    lines = table(FIGURES).splitlines()
    by_name = {line.split()[0]: line.split()[1:] for line in lines}
    assert by_name["images"] == ["500"]
    assert by_name["top1_cls_err"] == ["3.20"]
    assert by_name["pxap"] == ["71.25"]
    assert by_name["corloc_err"] == ["61.00", "40.00"]
    assert by_name["box_acc/50"] == ["39.00", "60.00"]  # max_box_acc in the column of the oracle
    assert lines[3].split() == ["at", "fixed", "oracle"]


def test_intervals_stand_beside_their_figures():
    intervals = {"top1_cls_err": [2.0, 4.26], "oracle": {"max_box_acc": {"50": [57.1, 63.0]}}}
    lines = table(FIGURES, intervals).splitlines()
    by_name = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert by_name["top1_cls_err"] == "3.20 [2.0, 4.3]"
    assert by_name["box_acc/50"].split("  ")[0] == "39.00"
    assert by_name["box_acc/50"].endswith(" 60.00 [57.1, 63.0]")
    assert by_name["images"] == "500"
