"""Writes the metadata of a split in the field's layout, which `metadata.py` reads."""

import os
import shutil
from collections.abc import Mapping, Sequence

from ega_jax.data.files.metadata import MASKS_FILE, read_metadata
from ega_jax.data.source import DataError

METADATA_FILES = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")


def csv(rows: list[tuple]) -> str:
    """Joins lines as the field writes them: commas, no newline at the end."""
    return "\n".join(",".join(map(str, row)) for row in rows)


def metadata_texts(
    labels: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]],
    boxes: Mapping[str, Sequence[tuple[int, ...]]] | None,
) -> dict[str, str]:
    """Writes the four files of a split as text.

    Args:
      labels: of each image, in the order of evaluation.
      sizes: of the images, width and height.
      boxes: of each image, xyxy; None: a split without boxes, whose sizes the field leaves out.
    """
    boxed = [] if boxes is None else labels
    return {
        "image_ids.txt": "\n".join(labels),
        "class_labels.txt": csv(list(labels.items())),
        "image_sizes.txt": csv([(image, *sizes[image]) for image in boxed]),
        "localization.txt": csv([(image, *box) for image in boxed for box in boxes[image]]),
    }


def check_replaceable(folder: str) -> None:
    """Looks whether a folder holds nothing but the metadata of a split, or is not there.

    Raises:
      DataError: it holds something else; names it.
    """
    ours = {*METADATA_FILES, MASKS_FILE}
    there = os.listdir(folder) if os.path.isdir(folder) else []
    if others := sorted(set(there) - ours):
        raise DataError(
            f"{folder} is to be replaced by the metadata of a split, but holds "
            f"{', '.join(others[:2])}{', ...' if others[2:] else ''}; choose another --out, or "
            "move what is to be kept"
        )


def write_metadata(folder: str, texts: dict[str, str], num_classes: int) -> None:
    """Writes the text files of a split, all or none of them, once they can be read.

    Args:
      folder: of the split; metadata that it held before go.
      texts: of the files, by name.
      num_classes: that the labels must be within.

    Raises:
      DataError: they are no metadata, or the folder holds something else.
      OSError: they cannot be written.
    """
    outdated = MASKS_FILE not in texts and os.path.exists(os.path.join(folder, MASKS_FILE))
    if not outdated and all(_reads(os.path.join(folder, n), text) for n, text in texts.items()):
        return
    check_replaceable(folder)
    part = f"{folder}.part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    for name, text in texts.items():
        with open(os.path.join(part, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    read_metadata(part, num_classes)
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    os.rename(part, folder)


def _reads(path: str, text: str) -> bool:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read() == text
    except (FileNotFoundError, UnicodeDecodeError):
        return False
