"""Tab. 5: CorLoc of the systems on ILSVRC, AlexNet, VGG and GoogLeNet.

    python -m ega_jax.main --mode=study --config=configs/studies/table5.py --workdir=OUT \
        --config.data.root=ILSVRC --config.data.metadata=ILSVRC/metadata

After the colon `inception_v3`: the authors' GoogLeNet. AlexNet begins from scratch, as its weights
come in no file that can be fetched: `configs/ilsvrc_alexnet.py` says how to give them.
"""

from configs.studies import paper
from ega_jax.studies.plan import Row, Study

COLUMNS = (paper.COR,)
ALEXNET = {"cam": (45.01,), "has": (41.25,)}
GOOGLENET = {
    "cam": (41.34,),
    "has": (38.8,),
    "acol": (37.04,),
    "spg": (35.31,),
    "ega": (35.17,),
}
VGG = {"ccam": (36.42,), "nl_ccam": (34.77,)}
ENSEMBLES = (
    Row("alexnet_cam_ensemble", "AlexNet-CAM, ensemble", published={paper.COR: 42.98}),
    Row("alexnet_has_ensemble", "AlexNet-HaS, ensemble", published={paper.COR: 39.67}),
)


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    network = paper.googlenet(googlenet, "configs/studies/table5.py")
    return Study(
        title="Tab. 5: CorLoc on ILSVRC",
        rows=(
            *paper.rows("ilsvrc", "alexnet", COLUMNS, ALEXNET),
            *ENSEMBLES,
            *paper.rows("ilsvrc", network, COLUMNS, GOOGLENET),
            *paper.rows("ilsvrc", "vgg", COLUMNS, VGG),
        ),
        metrics=paper.columns(paper.CLS, paper.COR),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
