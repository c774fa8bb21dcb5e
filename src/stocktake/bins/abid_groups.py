"""Which photos show the same bin: runs of ids that share an article."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from stocktake.bins.abid_ids import after, order

REACH = 2  # ids; bridges one that is missing or not selected. Farther apart, shared articles are chance


def group_bins(skus: Mapping[str, Sequence[str]], digests: Mapping[str, str]) -> dict[str, str]:
    """Give each bin the name of its group, which is the first of its ids.

    ABID photographs a bin before and after a pick or a stow under consecutive ids: in its first 999, 40 % of
    neighbours share an article, 4 % of those two apart, each of them through the one between, and none of
    those three to six apart. So ids are linked that are at most REACH apart and share an article, and groups
    are what hangs together. Photos with equal bytes are linked as well.

    Args:
        skus: id -> articles in the bin.
        digests: id -> SHA-256 of the photo, for the bins that have one.

    Returns:
        id -> group, for each id of `skus`; the same in any order of the arguments.
    """
    parents: dict[str, str] = {}

    def root(bin_id: str) -> str:
        while (parent := parents.get(bin_id, bin_id)) != bin_id:
            parents[bin_id] = parents.get(parent, parent)  # halves the path for the next time
            bin_id = parent
        return bin_id

    def link(first: str, second: str) -> None:
        low, high = sorted((root(first), root(second)), key=order)
        parents[high] = low

    for bin_id, articles in skus.items():
        mine = set(articles)
        for step in range(1, REACH + 1):
            neighbour = after(bin_id, step)
            if neighbour and neighbour in skus and not mine.isdisjoint(skus[neighbour]):
                link(bin_id, neighbour)
    for first, second in pairwise(sorted(digests, key=lambda bin_id: (digests[bin_id], order(bin_id)))):
        if digests[first] == digests[second]:
            link(first, second)
    return {bin_id: root(bin_id) for bin_id in skus}
