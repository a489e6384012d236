"""Tab. 7: weights of the entropies on CUB-200-2011, VGG.

    python -m ega_jax.main --mode=study --config=configs/studies/table7.py --workdir=OUT \
        --config.data.root=CUB --config.data.metadata=CUB/metadata
"""

from configs.studies import paper
from ega_jax.studies.plan import Row, Study

COLUMNS = (paper.CLS, paper.LOC)
PUBLISHED = {  # by the weights of the clean and the adversarial map's entropy
    (3.0, 1.0): (22.59, 41.94),
    (1.0, 0.01): (21.87, 40.84),
    (0.1, 0.01): (22.14, 41.54),
    (0.01, 0.002): (21.88, 41.23),
    (0.001, 0.0002): (22.11, 41.09),
}
BEST = "clean1-adv0.01"


def _row(clean: float, adversarial: float, published: tuple[float, float]) -> Row:
    name = f"clean{clean:g}-adv{adversarial:g}"
    return Row(
        name,
        f"λ clean {clean:g}, adv {adversarial:g}",
        "configs/cub_vgg.py:ega",
        {"ega.lambda_clean": clean, "ega.lambda_adv": adversarial},
        baseline="" if name == BEST else BEST,
        published=dict(zip(COLUMNS, published, strict=True)),
    )


def get_config() -> Study:
    """Returns the study."""
    return Study(
        title="Tab. 7: weights of the entropies, VGG on CUB-200-2011",
        rows=tuple(_row(*weights, published) for weights, published in PUBLISHED.items()),
        metrics=paper.columns(*COLUMNS),
        fields=paper.PRETRAINED,
        source=paper.SOURCE,
    )
