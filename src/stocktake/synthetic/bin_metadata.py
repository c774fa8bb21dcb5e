"""Writes what a bin holds as ABID does: one JSON file per photo, one entry per product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from stocktake.synthetic.bin_products import BIN_INCHES, Product

_POUNDS_PER_CUBIC_INCH = 0.009
_DEPTH = 1.1  # of a bin, in widths of its mouth


def describe_bin(products: Iterable[Product]) -> dict[str, Any]:
    """The metadata of a bin with one entry of `products` per item; of an empty one, no entries and 0."""
    quantities: Counter[str] = Counter()
    entries: dict[str, Product] = {}
    for product in products:
        quantities[product.asin] += 1
        entries[product.asin] = product
    data = {_key(entry): _describe(entry, quantities[asin]) for asin, entry in entries.items()}
    return {"BIN_FCSKU_DATA": data, "EXPECTED_QUANTITY": quantities.total()}


def _key(product: Product) -> str:
    """Of one product in 30 the key is not its ASIN, as in ABID."""
    return f"ZZX{product.artwork:07d}"[:10] if product.artwork % 30 == 0 else product.asin


def _describe(product: Product, quantity: int) -> dict[str, Any]:
    sides = product.height, product.depth * _DEPTH, product.width
    height, length, width = (side * BIN_INCHES for side in sides)
    unmeasured = product.artwork % 25 == 1  # nobody has put this one on the scale yet
    weight = None if unmeasured else _measure(height * length * width * _POUNDS_PER_CUBIC_INCH, "pounds")
    return {
        "asin": product.asin,
        "height": _measure(height, "IN"),
        "length": _measure(length, "IN"),
        "name": product.name,
        "normalizedName": product.name,
        "quantity": quantity,
        "weight": weight,
        "width": _measure(width, "IN"),
    }


def _measure(value: float, unit: str) -> dict[str, Any]:
    return {"unit": unit, "value": round(value, 2)}
