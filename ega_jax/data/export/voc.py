"""Writes Pascal VOC's annotations, an XML file for each picture; see `convert/voc.py`."""

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from ega_jax.data.export.annotated import Annotated, Every
from ega_jax.runtime import files


def write_voc(out: str | os.PathLike, every: Every, splits: Sequence[str]) -> list[str]:
    """Writes `Annotations/*.xml` and `ImageSets/Main/<split>.txt`, `train` for no split.

    Pixels count from 1, and the last ones are named. The lists come last.

    Args:
      out: folder that receives the files; pictures belong into its `JPEGImages`.
      every: the pictures.
      splits: those that there are, `train` for none.

    Returns:
      The names of the lists.
    """
    for picture in every():
        stem = os.path.splitext(picture.image_id)[0]
        files.write_bytes(os.path.join(out, "Annotations", f"{stem}.xml"), _xml(picture))
    written = []
    for split in splits:
        name = os.path.join("ImageSets", "Main", f"{split}.txt")
        ids = (one.image_id for one in every() if (one.split or "train") == split)
        stems = (os.path.splitext(image_id)[0] for image_id in ids)
        files.write_chunks(os.path.join(out, name), (f"{stem}\n" for stem in stems))
        written.append(name)
    return written


def _xml(picture: Annotated) -> bytes:
    root = ET.Element("annotation")
    folder, name = os.path.split(picture.image_id)
    _add(root, "folder", os.path.join("JPEGImages", folder).rstrip("/"))
    _add(root, "filename", name)
    size = ET.SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*picture.size, 3), strict=True):
        _add(size, tag, value)
    _add(root, "segmented", 0)
    for found in picture.objects:
        entry = ET.SubElement(root, "object")
        for tag, value in (("name", picture.name), ("pose", "Unspecified")):
            _add(entry, tag, value)
        for tag in ("truncated", "difficult"):
            _add(entry, tag, 0)
        box = ET.SubElement(entry, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), found.box, strict=True):
            _add(box, tag, value + 1)
    ET.indent(root)
    return ET.tostring(root, encoding="utf-8") + b"\n"


def _add(parent: ET.Element, tag: str, value: str | int) -> None:
    ET.SubElement(parent, tag).text = str(value)
