"""Lays a published data set out as the recipes want it, from what its owners distribute.

    python -m ega_jax.data.prepare cub --source=DIR --metadata=metadata/CUB --out=OUT
    python -m ega_jax.main --config=configs/cub_vgg.py --config.data.root=OUT \
        --config.data.metadata=OUT/metadata

DIR holds archives, what came out of them, or both, in any arrangement. Every image is looked at
before it gets its place; extracted ones are linked there if the disk can do that. Nothing in DIR is
changed, nothing in OUT is ever half written, and a second call does what is still missing.
"""

import collections
import dataclasses
import itertools
import os
import warnings
from collections.abc import Collection

import ega_jax.runtime.quiet_tensorflow  # noqa: F401

# isort: split

from PIL import Image

from ega_jax.data.files.write_metadata import write_metadata
from ega_jax.data.prepare.cub import CUB
from ega_jax.data.prepare.ilsvrc import ILSVRC
from ega_jax.data.prepare.layout import UNREADABLE, WRONG_SIZE, Layout
from ega_jax.data.prepare.openimages import OpenImages
from ega_jax.data.prepare.published import DataSet
from ega_jax.data.source import DataError

DATA_SETS = {"cub": CUB, "ilsvrc": ILSVRC, "openimages": OpenImages}

_SHOWN = 3  # files named in a message
_STRETCH = 1.05  # by how much the sides' ratios of a mask and its image may differ


@dataclasses.dataclass
class Row:
    """How many images, or masks, of a split there are."""

    found: int
    expected: int
    unreadable: int
    wrong_size: int
    missing: int


@dataclasses.dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
      rows: by split, or `<split> masks`.
      problems: what keeps the data set from being complete, and what to do about it, by row.
      notes: what else is worth knowing.
    """

    rows: dict[str, Row]
    problems: dict[str, str]
    notes: list[str]

    def __str__(self) -> str:
        """Lays it out as a table, followed by the notes."""
        names = [field.name for field in dataclasses.fields(Row)]
        lines = [("", *(name.replace("_", " ") for name in names))]
        lines += [(row, *dataclasses.astuple(counts)) for row, counts in self.rows.items()]
        table = [f"  {first:<12}" + "".join(f"{n:>12}" for n in rest) for first, *rest in lines]
        return "\n".join(table + [f"  {note}" for note in self.notes])

    def require_complete(self) -> None:
        """Raises `DataError` if there are problems, with all of them."""
        if self.problems:
            raise DataError("\n  ".join(["not complete:", *self.problems.values()]))


def prepare(
    name: str,
    source: str,
    metadata: str | None,
    out: str,
    *,
    check: bool = False,
    subset: bool = False,
) -> Report:
    """Checks what is there of a data set and lays it out.

    Args:
      name: a key of `DATA_SETS`.
      source: folder of what the owners distribute: archives, extracted files, or both.
      metadata: folder of the field's `train`, `val` and `test`; CUB can do without.
      out: receives images and masks under the paths that the metadata name, and the metadata of
        complete splits in `out/metadata`.
      check: only look; nothing is written.
      subset: do not mind that there are other numbers of images than were published.

    Returns:
      What was found.

    Raises:
      DataError: nothing can be done; names the file.
      OSError: `out` cannot be written to.
    """
    for option, folder in (("source", source), ("metadata", metadata)):
        if folder is not None and not os.path.isdir(folder):
            raise DataError(f"no folder {folder!r}; set --{option}")
    with warnings.catch_warnings():
        # Pillow itself only warns of 90 megapixels. The largest test image of ILSVRC has 18.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        data = DATA_SETS[name](source, metadata, out)
        layout = Layout(data, out, write=not check)
        layout.fill(source)
    report = _report(data, layout, subset)
    for split, plan in data.splits.items():
        if {split, f"{split} masks"} & report.problems.keys():
            continue
        if problem := data.contradiction(split, layout.sizes):
            report.problems[split] = f"{split}: {problem}"
            continue
        texts = plan.texts(layout.sizes)
        if not check:
            write_metadata(os.path.join(out, "metadata", split), texts, data.num_classes)
    return report


def _report(data: DataSet, layout: Layout, subset: bool) -> Report:
    """Counts, and says what is wrong."""
    stretched = _stretched(data, layout)
    faults = collections.Counter(
        (layout.row_of(path), kind) for path, (kind, _) in layout.faults.items()
    )
    rows, problems = {}, {}
    for split, plan in data.splits.items():
        listed: dict[str, Collection[str]] = {split: plan.images, f"{split} masks": plan.masks}
        for name, paths in listed.items():
            found = layout.found[name]
            bad = faults[name, UNREADABLE], faults[name, WRONG_SIZE]
            expected = len(paths)
            if name == split and not paths:
                expected = found + sum(bad) if subset and found else plan.published
            if not expected:
                continue
            lost = expected - found
            rows[name] = Row(found, expected, *bad, missing=max(0, lost - sum(bad)))
            if plan.problem:
                problems[name] = f"{name}: {plan.problem}. Images: {plan.where}"
            elif lost > 0:
                few = _some(_lost(layout, name, paths), lost)
                remedy = plan.remedy or f"Get {plan.where}"
                problems[name] = f"{name}: {lost} of {expected} not found{few}. {remedy}"
            elif name == split and found != plan.published and not subset:
                problems[name] = (
                    f"{name}: {found} images, but {plan.published} were published; get the "
                    "metadata or the images again, or use --subset if that is meant"
                )
    notes = []
    if layout.refused:
        few = _some(layout.refused, len(layout.refused))
        notes.append(f"members of archives refused: {len(layout.refused)}{few}")
    if stretched:
        for path in stretched:
            rows[layout.row_of(path)].wrong_size += 1
        few = _some(stretched, len(stretched))
        notes.append(
            f"masks of another shape than their images: {len(stretched)}{few}; they are laid out, "
            "and stretched to the image when they are compared"
        )
    problems |= {f"archive {n}": message for n, message in enumerate(layout.damaged)}
    return Report(rows, problems, notes)


def _lost(layout: Layout, row: str, paths) -> list[str]:
    """Names the first few files that are missing or bad."""
    bad = (
        f"{path} {message}"
        for path, (_, message) in layout.faults.items()
        if layout.row_of(path) == row
    )
    missing = (
        f"{path} is missing"
        for path in paths
        if path not in layout.sizes and path not in layout.faults
    )
    return list(itertools.islice(itertools.chain(bad, missing), _SHOWN))


def _some(items: list[str], number: int) -> str:
    more = ", ..." if number > len(items[:_SHOWN]) else ""
    return f" ({', '.join(items[:_SHOWN])}{more})" if items else ""


def _stretched(data: DataSet, layout: Layout) -> list[str]:
    """Finds masks that are not their image at another scale, as OpenImages' are."""
    result = []
    for plan in data.splits.values():
        for mask, image in plan.masks.items():
            if mask in layout.sizes and image in layout.sizes:
                (w, h), (width, height) = layout.sizes[mask], layout.sizes[image]
                if max(w * height, h * width) > _STRETCH * min(w * height, h * width):
                    result.append(mask)
    return result
