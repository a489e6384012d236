"""The search of the field's evaluation code on CUB-200-2011: 30 random settings for each system.

    pip install optuna
    python -m ega_jax.main --mode=study --config=configs/studies/search_cub.py --workdir=OUT \
        --config.data.root=CUB --config.data.metadata=CUB/metadata

After the colon the network: `vgg`, `inception_v3` or `resnet50`. Ranges of Choe et al., CVPR 2020:
the learning rate by its logarithm, the size of the maps, and what is a system's own. EGA, which is
not among theirs, has the weight of its clean entropy. SPG is left out: its bounds come in pairs,
low below high, and what is searched here is drawn field by field. Published figures are theirs,
100 - MaxBoxAccV2. The paper quotes those of VGG in Tab. 4, HaS with 36.6.
"""

from configs import protocol
from configs.studies import paper
from ega_jax.runtime.errors import ConfigError
from ega_jax.studies.plan import Choice, Row, Search, Space, Study, Uniform

SPACE: Space = {
    "optimizer.learning_rate": Uniform(1e-5, 1.0, log=True),
    "model.feature_stride": Choice((16, 8)),
}
_SHARE = Uniform(0.0, 1.0)
OWN: dict[str, Space] = {
    "cam": {},
    "has": {"has.drop_rate": _SHARE},
    "acol": {"acol.threshold": _SHARE},
    "adl": {"adl.threshold": _SHARE, "adl.drop_rate": _SHARE},
    "cutmix": {"cutmix.beta": Uniform(0.1, 2.0), "cutmix.probability": _SHARE},
    "ega": {"ega.lambda_clean": Uniform(1e-3, 3.0, log=True)},
}
PUBLISHED = {
    "vgg": {"cam": 36.3, "has": 36.3, "acol": 42.6, "adl": 33.7, "cutmix": 37.7},
    "inception_v3": {"cam": 43.3, "has": 46.6, "acol": 43.8, "adl": 41.2, "cutmix": 42.5},
    "resnet50": {"cam": 37.0, "has": 35.3, "acol": 33.5, "adl": 41.6, "cutmix": 37.2},
}


def get_config(network: str = "vgg") -> Study:
    """Returns the study on a network."""
    if network not in protocol.REFERENCE_MODELS:
        choices = ", ".join(protocol.REFERENCE_MODELS)
        raise ConfigError(f"configs/studies/search_cub.py:{network}: choose one of {choices}")
    published = PUBLISHED[network]
    return Study(
        title=f"Searched settings, {paper.NETWORKS[network]} on CUB-200-2011",
        rows=tuple(
            Row(
                system,
                paper.SYSTEMS[system],
                f"configs/cub_{network}.py:{'reference' if system == 'cam' else system}",
                baseline="" if system == "cam" else "cam",
                published={paper.V2: published[system]} if system in published else {},
                space=space,
            )
            for system, space in OWN.items()
        ),
        metrics=paper.columns(paper.CLS, paper.LOC, paper.V2),
        fields=paper.PRETRAINED,
        source="Choe et al., CVPR 2020",
        search=Search(SPACE, trials=30),
    )
