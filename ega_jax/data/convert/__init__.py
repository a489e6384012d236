"""Annotations of other programs, COCO, Pascal VOC and YOLO, as the metadata of a split."""
