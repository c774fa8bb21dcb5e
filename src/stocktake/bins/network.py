"""The network of a bin counter, ResNet50 (He et al., 2015) with a head for counts, and its checkpoints.

Importing this module imports torch and torchvision.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from stocktake.bins.heads import make_head
from stocktake.bins.train_settings import HEADS, HeadName
from stocktake.errors import ModelError

# of ImageNet, per channel of RGB in 0..1; what the published weights were trained with
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
CHECKPOINT_KEYS = {"state", "classes", "head", "img", "epoch", "metrics"}


class BinNetwork(nn.Module):
    """Counts the items in a photo that was fitted into a square.

    Attributes:
        classes: the counts that it knows, ascending; class index k means `classes[k]` items.
        head_name: softmax or ordinal, see `heads`.
        body: torchvision's ResNet50 without its last layer.
        head: what follows.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classes: tuple[int, ...], head: HeadName = "softmax") -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.head_name = head
        self.body = resnet50(zero_init_residual=True)  # (Goyal et al., 2017); loaded weights replace it
        features = self.body.fc.in_features
        self.body.fc = nn.Identity()
        self.head = make_head(head, features, len(self.classes))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the head for `images` (N, 3, S, S) float32 RGB in 0..1, S >= 32."""
        logits: Tensor = self.head(self.body((images - self.mean) / self.std))
        return logits

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss, a scalar, of `targets` (N,) int64 class indexes."""
        return self.head.loss(logits, targets)

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, K) float32 in 0..1, one column per class, rows that sum to 1."""
        return self.head.probabilities(logits)

    def freeze_body(self) -> None:
        """Train the head alone: the body gets no gradients and keeps its running statistics."""
        self.body.requires_grad_(False)

    def train(self, mode: bool = True) -> "BinNetwork":
        """As in `nn.Module`; a frozen body stays in eval mode."""
        super().train(mode)
        if mode and not self.body.conv1.weight.requires_grad:
            self.body.eval()
        return self


def load_checkpoint(path: Path) -> BinNetwork:
    """The network of a checkpoint of ours, in eval mode, on the CPU; nothing in the file is executed.

    Raises:
        ModelError: as `read_checkpoint`; also weights that do not fit the network.
    """
    checkpoint = read_checkpoint(path)
    network = BinNetwork(checkpoint["classes"], checkpoint["head"])
    load_state(network, checkpoint["state"], path)
    return network.eval()


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint of ours: state (weights), classes, head, img, epoch, metrics, and for
    last.pt what a training needs to continue. With `mmap` tensors stay in the file until they are used.

    Raises:
        ModelError: there is no such file, it is damaged, or not a checkpoint of a bin counter.
    """
    content = read_torch_file(path, mmap)
    missing = sorted(CHECKPOINT_KEYS - content.keys())
    if missing or content["head"] not in HEADS:
        found = f"it lacks {', '.join(missing)}" if missing else f"its head is {content['head']!r}"
        raise ModelError(
            f"{path}: not a checkpoint of a bin counter ({found}); train one with `stocktake bins`"
        )
    return {**content, "classes": tuple(content["classes"])}


def read_torch_file(path: Path, mmap: bool = False) -> dict[str, Any]:
    """The dict in a file of torch.save, read without running anything in it.

    Raises:
        ModelError: there is no such file, or it is damaged or holds something else.
    """
    try:
        content = torch.load(path, map_location="cpu", mmap=mmap, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: a checkpoint that cannot be read ({reason})") from error
    if not isinstance(content, Mapping):
        raise ModelError(f"{path}: holds a {type(content).__name__}, not a checkpoint or a state dict")
    return cast("dict[str, Any]", dict(content))


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load weights that must fit `module` exactly.

    Raises:
        ModelError: a tensor is missing, unknown or of another shape; names the first, and `path`.
    """
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:300]
        raise ModelError(f"{path}: the weights do not fit a ResNet50 bin counter ({detail})") from error
