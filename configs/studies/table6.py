"""Tab. 6: what adversarial images and entropies add to CAM, on CUB-200-2011.

    python -m ega_jax.main --mode=study --config=configs/studies/table6.py --workdir=OUT \
        --config.data.root=CUB --config.data.metadata=CUB/metadata

After the colon `inception_v3`: the authors' GoogLeNet. The paper's CAM is that of CAM's own paper,
at another threshold; here all rows have one network, schedule and evaluation.
"""

from configs.studies import paper
from ega_jax.studies.plan import Row, Study

PARTS = {
    "cam": "CAM",
    "adversarial": "CAM + adversarial learning",
    "ega": "CAM + adversarial learning + entropy",
}
COLUMNS = (paper.CLS, paper.LOC)
GOOGLENET = {"cam": (26.2, 58.94), "adversarial": (27.93, 54.82), "ega": (27.89, 54.26)}
VGG = {"cam": (23.4, 55.85), "adversarial": (21.85, 40.93), "ega": (21.87, 40.84)}


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    other = paper.googlenet(googlenet, "configs/studies/table6.py")
    return Study(
        title="Tab. 6: parts of EGA on CUB-200-2011",
        rows=tuple(
            Row(
                f"{network}_{part}",
                f"{paper.NETWORKS[network]}-{title}",
                f"configs/cub_{network}.py:{part}",
                baseline="" if part == "cam" else f"{network}_cam",
                published=dict(zip(COLUMNS, published[part], strict=True)),
            )
            for network, published in (("vgg", VGG), (other, GOOGLENET))
            for part, title in PARTS.items()
        ),
        metrics=paper.columns(*COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
