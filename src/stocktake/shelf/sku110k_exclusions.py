"""Photos of SKU-110K that published work leaves out.

The 54 names are those that Habana's Model-References skip and that DatasetNinja dropped: unreadable or
damaged files and photos whose products are mostly unlabelled. With them gone 8,185 train, 584 val and 2,920
test photos remain. Scores with and without them are not comparable, so the index keeps the list for reports.
"""

EXCLUSIONS = ("none", "unreadable", "strict")  # what an ingest may leave out, see `sku110k.ingest`

_NUMBERS = {
    "test": "22 132 184 232 274 521 853 910 923 1346 1929 2028 2321 2613 2643 2878",
    "val": "147 286 296 386",
    "train": (
        "38 305 340 737 775 789 882 903 924 1239 2376 2903 2986 3240 3556 3560 3832 4222 5007 5137 5143 5762 "
        "5822 6052 6090 6138 6409 6722 6788 7576 7622 7883 8020 8146"
    ),
}

STRICT: frozenset[str] = frozenset(
    f"{split}_{number}.jpg" for split, numbers in _NUMBERS.items() for number in numbers.split()
)
