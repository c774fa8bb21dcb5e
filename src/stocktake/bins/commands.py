"""The group `stocktake bins`: each module of verbs adds its own."""

from typing import Any

from stocktake.bins import data_commands, draw_command, score_commands, train_command
from stocktake.tuning import search_command


def add_to(groups: Any) -> None:
    """Add the group `bins` with its verbs to the subparsers of the program."""
    bins = groups.add_parser(
        "bins",
        help="items in the bins of a distribution centre (Amazon Bin Image Dataset)",
        description="From photos of bins to a model that counts. The verbs in their usual order:",
    )
    verbs = bins.add_subparsers(metavar="VERB", required=True)
    for module in (draw_command, data_commands, train_command, search_command, score_commands):
        module.add_to_verbs(verbs)
