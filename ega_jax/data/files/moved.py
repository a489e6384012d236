"""Guesses where images went whose paths lead nowhere any more."""

import os
from collections.abc import Sequence

from ega_jax.data.files.listing import subfolders

_TRIED = 50  # folders


def moved_hint(root: str | os.PathLike, image_ids: Sequence[str]) -> str:
    """Says what would make the first image's path right, as the end of a message.

    Args:
      root: the folder that the ids are relative to.
      image_ids: none of which exists below it.
    """
    root, first = os.fspath(root), image_ids[0]
    for folder in subfolders(root)[:_TRIED]:
        if os.path.isfile(os.path.join(root, folder, first)):
            return f". They are in {os.path.join(root, folder)}"
    above = os.path.abspath(root)
    while (above := os.path.dirname(above)) != os.path.dirname(above):
        if os.path.isfile(os.path.join(above, first)):
            return f". They are in {above}"
    parts = first.split("/")
    for number in range(1, len(parts)):
        if os.path.isfile(os.path.join(root, *parts[number:])):
            left_out = "/".join(parts[:number])
            return f", or leave out {left_out + '/'!r} at the start of every id in the metadata"
    held = ", ".join(sorted(os.listdir(root))[:8]) or "nothing"
    return f", which holds {held}; were the images moved?"
