"""Writes the metadata of a split in the field's layout, which `metadata.py` reads."""

import os
import shutil
from collections.abc import Mapping, Sequence

from ega_jax.data.files.metadata import MASKS_FILE, read_metadata

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


def write_metadata(folder: str, texts: dict[str, str], num_classes: int) -> None:
    """Writes the text files of a split, all or none of them, once they can be read.

    Args:
      folder: of the split; what it held before goes.
      texts: of the files, by name.
      num_classes: that the labels must be within.

    Raises:
      DataError: they are no metadata.
      OSError: they cannot be written.
    """
    outdated = MASKS_FILE not in texts and os.path.exists(os.path.join(folder, MASKS_FILE))
    if not outdated and all(_reads(os.path.join(folder, n), text) for n, text in texts.items()):
        return
    part = f"{folder}.part"
    shutil.rmtree(part, ignore_errors=True)
    os.makedirs(part)
    for name, text in texts.items():
        with open(os.path.join(part, name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    read_metadata(part, num_classes)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(part, folder)


def _reads(path: str, text: str) -> bool:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read() == text
    except (FileNotFoundError, UnicodeDecodeError):
        return False
