"""Lays a published data set out.

python -m ega_jax.data.prepare cub --source=DIR --metadata=metadata/CUB --out=OUT
"""

import argparse
import logging
import os
import shlex
import sys

from ega_jax.data.prepare.prepare import DATA_SETS, prepare
from ega_jax.data.source import DataError


def main(argv: list[str] | None = None) -> int:
    """Prepares a data set; returns the exit code, 1 if anything is lacking."""
    parser = argparse.ArgumentParser(
        prog="python -m ega_jax.data.prepare",
        description="Lays a published data set out as the recipes want it.",
    )
    parser.add_argument("name", choices=DATA_SETS)
    parser.add_argument(
        "--source", required=True, type=os.path.expanduser, help="what the owners distribute"
    )
    parser.add_argument(
        "--metadata",
        type=os.path.expanduser,
        help="the field's train, val and test of this data set",
    )
    parser.add_argument("--out", required=True, type=os.path.expanduser, help="where to lay it out")
    parser.add_argument("--check", action="store_true", help="only look")
    parser.add_argument("--subset", action="store_true", help="fewer than published is meant")
    arguments = vars(parser.parse_args(argv))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        report = prepare(**arguments)
        print(report)
        report.require_complete()
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not arguments["check"]:
        out = arguments["out"]
        metadata = os.path.join(out, "metadata")
        flags = [f"--config.data.root={out}", f"--config.data.metadata={metadata}"]
        print(f"  {shlex.join(flags)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
