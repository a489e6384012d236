"""Tab. 2: all systems on ILSVRC, VGG and GoogLeNet.

    python -m ega_jax.main --mode=study --config=configs/studies/table2.py --workdir=OUT \
        --config.data.root=ILSVRC --config.data.metadata=ILSVRC/metadata

After the colon `inception_v3`: the authors' GoogLeNet.
"""

from configs.studies import paper
from ega_jax.studies.plan import Study

COLUMNS = (paper.CLS, paper.LOC)
GOOGLENET = {
    "backprop": (None, 61.31),
    "cam": (35.0, 56.40),
    "has": (None, 54.53),
    "acol": (29.0, 53.28),
    "spg": (None, 51.40),
    "adl": (27.17, 51.29),
    "danet": (27.5, 52.47),
    "ega": (27.42, 50.17),
}
VGG = {
    "backprop": (None, 61.12),
    "cam": (33.4, 57.20),
    "acol": (32.5, 54.17),
    "cutmix": (None, 56.45),
    "adl": (30.52, 55.08),
    "nl_ccam": (27.7, 49.83),
    "ega": (29.36, 52.69),
}


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    network = paper.googlenet(googlenet, "configs/studies/table2.py")
    return Study(
        title="Tab. 2: ILSVRC",
        rows=(
            *paper.rows("ilsvrc", network, COLUMNS, GOOGLENET),
            *paper.rows("ilsvrc", "vgg", COLUMNS, VGG),
        ),
        metrics=paper.columns(*COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
