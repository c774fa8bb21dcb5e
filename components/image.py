"""The image that steps run in, named in this one place."""

import functools

from kfp import dsl

from stocktake.cluster.images import train_image

# A tag that moves, such as latest, would let the cluster answer with what an older image made.
TRAIN_IMAGE = train_image()

train_component = functools.partial(dsl.component, base_image=TRAIN_IMAGE, install_kfp_package=False)
