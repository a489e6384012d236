"""Tab. 3: all systems on OpenImages, VGG and GoogLeNet.

    python -m ega_jax.main --mode=study --config=configs/studies/table3.py --workdir=OUT \
        --config.data.root=OPENIMAGES --config.data.metadata=OPENIMAGES/metadata

After the colon `inception_v3`: the authors' GoogLeNet. What the paper calls a localization error
is 100 - PxAP.
"""

from configs.studies import paper
from ega_jax.studies.plan import Study

COLUMNS = (paper.CLS, paper.PXAP)
GOOGLENET = {
    "cam": (63.4, 36.8),
    "has": (31.6, 41.9),
    "acol": (59.3, 42.8),
    "spg": (53.4, 37.7),
    "adl": (53.4, 43.2),
    "cutmix": (46.9, 37.5),
    "ega": (33.4, 37.35),
}
VGG = {
    "cam": (32.7, 41.7),
    "has": (40.0, 41.9),
    "acol": (31.8, 45.7),
    "spg": (28.3, 41.7),
    "adl": (33.9, 41.3),
    "cutmix": (31.9, 41.9),
    "ega": (30.0, 38.21),
}


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    network = paper.googlenet(googlenet, "configs/studies/table3.py")
    return Study(
        title="Tab. 3: OpenImages",
        rows=(
            *paper.rows("openimages", network, COLUMNS, GOOGLENET),
            *paper.rows("openimages", "vgg", COLUMNS, VGG),
        ),
        metrics=paper.columns(*COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
