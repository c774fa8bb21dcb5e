import pickle

import pytest
import torch
from torchvision.transforms.functional import normalize

from stocktake.bins import checkpoints
from stocktake.bins.network import BinNetwork, load_checkpoint, read_checkpoint, read_torch_file
from stocktake.bins.weights import check_weights
from stocktake.errors import ModelError

CLASSES = (1, 2, 3)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BinNetwork(CLASSES, "ordinal").eval()


def test_pixels_are_normalised_within(network):
    images = torch.rand(2, 3, 32, 32)
    seen = network.body(normalize(images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    assert torch.allclose(network(images), network.head(seen), atol=1e-5)


def test_a_frozen_body_keeps_weights_and_statistics_while_the_head_learns(network):
    frozen = BinNetwork(CLASSES, "softmax")
    frozen.freeze_body()
    frozen.train()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    optimizer = torch.optim.SGD([w for w in frozen.parameters() if w.requires_grad], lr=0.1)
    frozen.loss(frozen(torch.rand(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    changed = {name for name, value in frozen.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.linear.weight", "head.linear.bias"}


def test_a_checkpoint_gives_the_network_back(network, tmp_path):
    path = tmp_path / "best.pt"
    checkpoints.save(path, network, 64, 3, {"val/accuracy": 0.5})
    loaded = load_checkpoint(path)
    assert (loaded.classes, loaded.head_name, loaded.training) == (CLASSES, "ordinal", False)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), network(images))
    content = read_checkpoint(path)
    assert (content["img"], content["epoch"], content["metrics"]) == (64, 3, {"val/accuracy": 0.5})


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"cut off", "cannot be read"),
        (b"", "cannot be read"),
        ({"weights": 1}, "not a checkpoint of a bin counter"),
        ([1, 2], "holds a list"),
        ({**dict.fromkeys(("state", "classes", "img", "epoch", "metrics")), "head": "round"}, "'round'"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, content, named):
    path = tmp_path / "best.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ModelError, match=rf"best\.pt: .*{named}"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [{"state": {}}, {"state": {}, "classes": [1, 2]}, {"weights": 1}])
def test_a_training_does_not_start_from_a_file_of_something_else(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(
        ModelError, match=r"w\.pt: neither a checkpoint of `stocktake bins train` nor a ResNet50"
    ):
        check_weights(str(tmp_path / "w.pt"))


def test_no_such_file(tmp_path):
    with pytest.raises(ModelError, match=r"none\.pt"):
        read_checkpoint(tmp_path / "none.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path, capsys):
    torch.save({"state": Evil()}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil(), 2))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(ModelError, match="cannot be read"):
            read_torch_file(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_weights_of_another_shape_are_refused(network, tmp_path):
    path = tmp_path / "best.pt"
    checkpoints.save(path, network, 64, 1, {})
    content = torch.load(path)
    torch.save({**content, "classes": [1, 2, 3, 4]}, path)
    with pytest.raises(ModelError, match="do not fit"):
        load_checkpoint(path)
