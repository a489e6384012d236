"""Reads Pascal VOC's annotations: an XML file for each picture, with `object/bndbox`.

Source: the VOC development kit. Pixels count from 1 there, and xmax and ymax are the last ones.
"""

import os
import xml.etree.ElementTree

from ega_jax.data.convert.annotations import (
    Annotations,
    Object,
    Picture,
    by_stem,
    only_picture,
    read_size,
    usable_names,
)
from ega_jax.data.files.listing import walk
from ega_jax.data.files.text_lines import read_lines
from ega_jax.data.source import DataError

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(folder: str, images: str, names_file: str | None = None) -> Annotations:
    """Reads a folder of XML files.

    Args:
      folder: of the XML files, searched through all its folders.
      images: of the pictures, each at the path of its XML file or where `filename` says; where
        there is one at both, it is the same.
      names_file: a list such as `ImageSets/Main/train.txt`, whose lines, or the first words of
        them, are names of XML files without their end; None: all files.

    Raises:
      DataError: a file is no such annotation; names it.
    """
    files = {
        os.path.splitext("/".join(parts))[0]: path
        for parts, path in walk(folder)
        if path.lower().endswith(".xml")
    }
    if not files:
        raise DataError(f"{folder} holds no .xml file")
    if names_file is not None:
        lines = [line.strip() for line in read_lines(names_file) if line.strip()]
        wanted = [line if line in files else line.split()[0] for line in lines]
        if lacking := [name for name in wanted if name not in files]:
            raise DataError(f"{names_file}: no {lacking[0]}.xml in {folder}")
        files = {name: files[name] for name in wanted}
    there = by_stem(images)
    pictures, names = [], set()
    for stem, path in files.items():
        picture, of_picture = _picture(path, stem, images, there)
        pictures.append(picture)
        names |= of_picture
    return Annotations(tuple(pictures), usable_names(sorted(names)))


def _picture(
    path: str, stem: str, images: str, there: dict[str, list[str]]
) -> tuple[Picture, set[str]]:
    try:
        with open(path, "rb") as file:
            root = xml.etree.ElementTree.fromstring(file.read())
        objects = tuple(map(_object, root.findall("object")))
        sides = [root.findtext(f"size/{side}", "").strip() for side in ("width", "height")]
    except (OSError, xml.etree.ElementTree.ParseError, TypeError, ValueError, LookupError) as error:
        raise DataError(
            f"{path} is no annotation with object/name and object/bndbox/{', '.join(_SIDES)} "
            f"({error}); correct or remove it"
        ) from error
    try:
        size = read_size(*sides)
    except DataError as error:
        raise DataError(f"{path}: {error}; correct or remove it") from error
    named = os.path.join(os.path.dirname(stem), os.path.basename(root.findtext("filename") or ""))
    of_stem = there.get(stem, [])
    if os.path.basename(named) and os.path.isfile(os.path.join(images, named)):
        if of_stem and named not in of_stem:
            raise DataError(
                f"{path}: there is {of_stem[0]}, but its filename says {named}; correct filename, "
                "or take it out where pictures were renamed together with their XML files"
            )
        file = named
    else:
        file = only_picture(of_stem, path)
    return Picture(file, path, size, lambda size: objects), {one.name for one in objects}


def _object(entry: xml.etree.ElementTree.Element) -> Object:
    name = (entry.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object has no name")
    x0, y0, x1, y1 = (float(entry.findtext(f"bndbox/{side}")) for side in _SIDES)
    return Object(name, (x0 - 1, y0 - 1, x1, y1))
