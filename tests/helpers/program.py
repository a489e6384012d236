"""The program, which also knows the network of the tests.

`python -m tests.helpers.program` takes what `python -m ega_jax.main` takes.
"""

from ega_jax import main
from tests.helpers import runs

if __name__ == "__main__":
    assert runs.TINY["model.name"] in runs.NETWORKS
    main.run()
