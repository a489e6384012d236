"""The command of this name has moved."""

import sys

if __name__ == "__main__":
    sys.exit("error: ega_jax.models.pretrained is now called by: python -m ega_jax.models.weights")
