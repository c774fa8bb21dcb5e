"""Shelves: products found by a YOLOv5 detector, voids found between them."""
