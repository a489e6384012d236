"""Tab. 1: all systems on CUB-200-2011, VGG and GoogLeNet.

    python -m ega_jax.main --mode=study --config=configs/studies/table1.py --workdir=OUT \
        --config.data.root=CUB --config.data.metadata=CUB/metadata

After the colon `inception_v3`: the authors' GoogLeNet. The localization error of GoogLeNet-EGA is
54.26 in the paper's tables and 57.26 in its text; here it is that of the tables.
"""

from configs.studies import paper
from ega_jax.studies.plan import Study

COLUMNS = (paper.CLS, paper.LOC)
GOOGLENET = {
    "cam": (26.2, 58.94),
    "spg": (None, 53.36),
    "adl": (25.45, 46.94),
    "danet": (28.8, 50.55),
    "ega": (27.89, 54.26),
}
VGG = {
    "cam": (23.4, 55.85),
    "acol": (28.1, 54.08),
    "spg": (24.5, 51.07),
    "cutmix": (None, 47.47),
    "adl": (34.73, 47.64),
    "danet": (24.6, 47.48),
    "ccam": (26.8, 49.93),
    "ega": (21.87, 40.84),
}


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    network = paper.googlenet(googlenet, "configs/studies/table1.py")
    return Study(
        title="Tab. 1: CUB-200-2011",
        rows=(
            *paper.rows("cub", network, COLUMNS, GOOGLENET),
            *paper.rows("cub", "vgg", COLUMNS, VGG),
        ),
        metrics=paper.columns(*COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
