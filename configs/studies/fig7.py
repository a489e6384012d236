"""Fig. 7: strength of the attack on CUB-200-2011, VGG and GoogLeNet.

    python -m ega_jax.main --mode=study --config=configs/studies/fig7.py --workdir=OUT \
        --config.data.root=CUB --config.data.metadata=CUB/metadata

ε from 1 to 4 grey levels, with ε + 1 steps, and 1 for ε = 1. After the colon `inception_v3`: the
authors' GoogLeNet. The paper shows the curves, errors that rise with ε, and prints only the figures
of ε = 1, which are those of Tab. 6.
"""

from configs.studies import paper, table6
from ega_jax.studies.plan import Row, Study

STRENGTHS = (1, 2, 3, 4)


def get_config(googlenet: str = "googlenet") -> Study:
    """Returns the study; `googlenet` or `inception_v3` stands for GoogLeNet."""
    other = paper.googlenet(googlenet, "configs/studies/fig7.py")
    return Study(
        title="Fig. 7: strength of the attack on CUB-200-2011",
        rows=tuple(
            Row(
                f"{network}_{strength}",
                f"{paper.NETWORKS[network]}, ε = {strength}",
                f"configs/cub_{network}.py:ega",
                {"ega.epsilon": float(strength)},
                baseline="" if strength == 1 else f"{network}_1",
                published=dict(zip(table6.COLUMNS, figures["ega"], strict=True))
                if strength == 1
                else {},
            )
            for network, figures in (("vgg", table6.VGG), (other, table6.GOOGLENET))
            for strength in STRENGTHS
        ),
        metrics=paper.columns(*table6.COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
