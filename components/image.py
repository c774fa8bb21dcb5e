"""The image that steps run in, named in this one place."""

import functools
import os
from importlib.metadata import version

from kfp import dsl

# A tag that moves, such as latest, would let the cluster answer with what an older image made.
TRAIN_IMAGE = os.environ.get("STOCKTAKE_TRAIN_IMAGE") or f"stocktake-train:{version('stocktake')}"

train_component = functools.partial(dsl.component, base_image=TRAIN_IMAGE, install_kfp_package=False)
