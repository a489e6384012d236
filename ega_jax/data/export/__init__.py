"""Boxes and regions that were found, in the formats of other tools."""

FORMATS = ("coco", "voc", "yolo", "csv", "png")
