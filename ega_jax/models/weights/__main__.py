"""Checks a weight file and writes it as `.safetensors`.

python -m ega_jax.models.weights --model=vgg16_bn vgg16_bn-6c64b313.pth vgg16_bn.safetensors

IN may be `auto`: the official file, which is fetched if it is not here yet; see `fetch.py`.
"""

import argparse
import logging
import sys

from ega_jax.models.weights.files import WeightFileError
from ega_jax.models.weights.load import convert
from ega_jax.models.weights.official import MODELS


def main() -> int:
    """Converts a file."""
    parser = argparse.ArgumentParser(description="Checks a weight file and writes .safetensors.")
    parser.add_argument("--model", required=True, choices=MODELS)
    parser.add_argument("source", metavar="IN", help="a weight file, or auto")
    parser.add_argument("target", metavar="OUT")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        convert(arguments.model, arguments.source, arguments.target)
    except WeightFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
