"""The kinds of voids, as they stand in files and answers."""

GAP = "gap"  # between products
EDGE = "edge"  # at the end of a tier
EMPTY_TIER = "empty_tier"
LOW_STOCK = "low_stock"  # front row empty, back row full: neither an alarm nor void truth

VOID_KINDS = (GAP, EDGE, EMPTY_TIER, LOW_STOCK)
