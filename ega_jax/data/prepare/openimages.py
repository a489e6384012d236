"""OpenImages30k, which comes in the arrangement of its metadata."""

from ega_jax.data.prepare.published import FIELD, DataSet


class OpenImages(DataSet):
    """OpenImages30k: `<split>/<class>/<image>.jpg`, and masks as PNG beside them."""

    name = "OpenImages"
    num_classes = 100
    published = {"train": 29_819, "val": 2500, "test": 5000}
    where = dict.fromkeys(
        published, f"OpenImages_images.zip and OpenImages_annotations.zip, see {FIELD}"
    )

    def place(self, parts: tuple[str, ...]) -> str:
        """Returns the last three parts."""
        return "/".join(parts[-3:])
