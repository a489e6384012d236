"""Reads COCO's instance files: JSON with `images`, `categories` and `annotations`.

Source: https://cocodataset.org/#format-data. Boxes are x, y, width, height; regions are polygons or
run lengths.
"""

import functools
import json
from collections import defaultdict
from typing import Any

import numpy as np

from ega_jax.data.convert.annotations import (
    Annotations,
    Object,
    Picture,
    Size,
    read_size,
    usable_names,
)
from ega_jax.data.convert.regions import check_run_lengths, fill, run_lengths
from ega_jax.data.source import DataError


def read_coco(path: str) -> Annotations:
    """Reads one file, which is one split.

    Raises:
      DataError: it is no such file; names it and the entry.
    """
    try:
        with open(path, "rb") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    try:
        images = _entries(content, "images", {"id": None, "file_name": str})
        categories = _entries(content, "categories", {"id": None, "name": str})
        annotations = _entries(content, "annotations", {"image_id": None, "category_id": None})
        for key, entries in (("images", images), ("categories", categories)):
            _check_ids(key, entries)
        categories.sort(key=lambda one: one["id"])
        class_names = usable_names([one["name"] for one in categories])
        names = dict(zip([one["id"] for one in categories], class_names, strict=True))
        of_image = defaultdict(list)
        for number, one in enumerate(annotations):
            if one["category_id"] not in names:
                raise DataError(f"annotations[{number}]: no category {one['category_id']!r}")
            of_image[one["image_id"]].append((f"annotations[{number}]", one))
        pictures = [_picture(one, of_image.pop(one["id"], []), names, path) for one in images]
        if of_image:
            place, one = next(iter(of_image.values()))[0]
            raise DataError(f"{place}: no image {one['image_id']!r}")
    except DataError as error:
        raise DataError(f"{path}: {error}; expected an instances file of COCO") from error
    except (TypeError, KeyError) as error:
        raise DataError(
            f"{path}: unexpected {error}; expected an instances file of COCO"
        ) from error
    return Annotations(tuple(pictures), class_names)


def _entries(content: Any, key: str, needed: dict[str, type | None]) -> list[dict]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"has no list {key!r}")
    for number, entry in enumerate(entries):
        for name, kind in needed.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, kind or (int, str)):
                raise DataError(f"{key}[{number}] has no {name!r}")
    return entries


def _check_ids(key: str, entries: list[dict]) -> None:
    """Raises `DataError` where an id is there twice, as in files that were joined."""
    first: dict[int | str, int] = {}
    for number, entry in enumerate(entries):
        other = first.setdefault(entry["id"], number)
        if other != number:
            raise DataError(
                f"{key}[{number}] has the id {entry['id']!r} of {key}[{other}]; give each its own, "
                "or convert what was joined one by one"
            )


def _picture(entry: dict, objects: list[tuple[str, dict]], names: dict, path: str) -> Picture:
    file = entry["file_name"].replace("\\", "/")
    try:
        size = read_size(entry.get("width"), entry.get("height"))
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    made = [(place, one, _object(place, one, names)) for place, one in objects]
    for place, one in objects:  # run lengths say what size they are for
        shape = one.get("segmentation")
        if isinstance(shape, dict) and "size" in shape:
            of_shape = _size_of_run_lengths(place, shape["size"])
            if size not in (None, of_shape):
                raise DataError(
                    "{}: segmentation has the size {} x {}, but the image has {} x {}; correct "
                    "one of them".format(place, *of_shape, *size)
                )
            size = of_shape
    return Picture(file, f"{path}: {file}", size, functools.partial(_objects, made))


def _size_of_run_lengths(place: str, sides: Any) -> Size:
    """Reads the `size` of run lengths, which has the height first."""
    if isinstance(sides, list) and len(sides) == 2 and all(map(_is_number, sides)):
        height, width = sides
        if size := read_size(width, height):
            return size
    raise DataError(f"{place}: segmentation has the size {sides!r}, not [height, width]")


def _objects(made: list[tuple[str, dict, Object]], size: Size) -> tuple[Object, ...]:
    """Returns the objects of a picture once it is known that all can be drawn at its size."""
    for place, entry, _ in made:
        if isinstance(shape := entry.get("segmentation"), dict):
            try:
                check_run_lengths(shape["counts"], size)
            except DataError as error:
                raise DataError(f"{place}: {error}") from error
    return tuple(one for _, _, one in made)


def _object(place: str, entry: dict, names: dict) -> Object:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise DataError(f"{place} has no bbox [x, y, width, height]")
    x, y, width, height = map(float, box)
    shape = entry.get("segmentation")
    region: Any = None
    if isinstance(shape, dict):
        counts = shape.get("counts")
        if not isinstance(counts, str | list):
            raise DataError(f"{place}: segmentation has no counts")
        region = functools.partial(run_lengths, counts)
    elif isinstance(shape, list) and shape:
        polygons = [_polygon(place, points) for points in shape]
        region = functools.partial(fill, polygons)

    crowd = entry.get("iscrowd") == 1
    return Object(names[entry["category_id"]], (x, y, x + width, y + height), region, crowd)


def _polygon(place: str, points: Any) -> np.ndarray:
    if (
        not isinstance(points, list)
        or len(points) < 6
        or len(points) % 2
        or not all(map(_is_number, points))
    ):
        raise DataError(f"{place}: segmentation has a polygon that is not [x, y, x, y, x, y, ...]")
    return np.array(points, np.float64).reshape(-1, 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
