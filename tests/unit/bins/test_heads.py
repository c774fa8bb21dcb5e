import numpy as np
import pytest
import torch

from stocktake.bins.heads import OrdinalHead, SoftmaxHead, make_head


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["softmax", "ordinal"])
@pytest.mark.parametrize("classes", [2, 3, 5, 11])
def test_probabilities_are_a_distribution(name, classes):
    head = make_head(name, 16, classes)
    found = head.probabilities(head(10 * torch.randn(64, 16)))
    assert found.shape == (64, classes)
    assert found.min() >= 0
    assert torch.allclose(found.sum(1), torch.ones(64))


def test_an_ordinal_head_begins_with_thresholds_one_apart_around_zero():
    head = OrdinalHead(4, 5)
    logits = head(torch.zeros(1, 4))
    assert torch.allclose(logits, torch.tensor([[1.5, 0.5, -0.5, -1.5]]), atol=1e-4)


def test_the_ordinal_loss_is_that_of_the_paper():
    head = OrdinalHead(8, 4)
    logits = head(torch.randn(6, 8)).detach()
    targets = torch.tensor([0, 1, 2, 3, 3, 0])
    more = 1 / (1 + np.exp(-logits.numpy().astype(np.float64)))
    levels = (targets.numpy()[:, None] > np.arange(3)).astype(float)
    expected = -(levels * np.log(more) + (1 - levels) * np.log(1 - more)).sum() / 6
    assert head.loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)


def test_ordinal_probabilities_are_those_of_the_questions():
    head = OrdinalHead(8, 4)
    logits = head(torch.randn(6, 8))
    found = head.probabilities(logits)
    for rank in range(3):
        assert torch.allclose(found[:, rank + 1 :].sum(1), logits[:, rank].sigmoid(), atol=1e-6)


def test_thresholds_stay_in_order_whatever_is_learnt():
    head = OrdinalHead(2, 5)
    with torch.no_grad():
        head.gaps.fill_(-30.0)
        head.first.fill_(7.0)
    logits = head(torch.randn(20, 2))
    assert (logits.diff(dim=1) <= 0).all()


def test_an_ordinal_head_is_surer_of_some_photos_than_of_others():
    head = OrdinalHead(1, 5)
    with torch.no_grad():
        head.score.weight.fill_(0.0)
        head.sharpness.fill_(1.0)  # of one feature
    found = head.probabilities(head(torch.tensor([[0.0], [5.0]])))
    assert found.argmax(1).tolist() == [2, 2]
    vague, sure = found[:, 2].tolist()
    assert vague == pytest.approx(0.2449, abs=1e-3)  # sigmoid(1/2) - sigmoid(-1/2)
    assert sure > 0.8


@pytest.mark.parametrize("lr", [0.003, 0.01])
def test_an_ordinal_head_soon_learns_how_sure_it_can_be(lr):
    """It need not wait until its thresholds have moved apart, and does not overshoot."""
    head = OrdinalHead(512, 5)
    targets = torch.arange(200) % 5
    telling = (targets[:, None] - 2) / 2 * torch.rand(1, 256)
    features = torch.cat([telling, torch.ones(200, 256)], 1) + 0.01 * torch.randn(200, 512)
    optimizer = torch.optim.Adam(head.parameters(), lr)
    for _ in range(200):
        optimizer.zero_grad()
        head.loss(head(features), targets).backward()
        optimizer.step()
    found = head.probabilities(head(features))
    assert (found.argmax(1) == targets).all()
    assert found.amax(1).mean() > 0.85


@pytest.mark.parametrize("name", ["softmax", "ordinal"])
def test_both_heads_learn_counts_that_features_tell(name):
    head = make_head(name, 2, 4)
    targets = torch.arange(200) % 4
    features = torch.stack([targets + 0.1 * torch.randn(200), torch.ones(200)], 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        head.loss(head(features), targets).backward()
        optimizer.step()
    found = head.probabilities(head(features))
    assert (found.argmax(1) == targets).float().mean() > 0.97


def test_far_off_costs_more_than_near_with_an_ordinal_head_alone():
    softmax, ordinal = SoftmaxHead(2, 5), OrdinalHead(2, 5)
    sure_of_first = torch.tensor([[4.0, 0, 0, 0, 0]])
    losses = [softmax.loss(sure_of_first, torch.tensor([wrong])).item() for wrong in (1, 4)]
    assert losses[0] == losses[1]
    low = torch.tensor([[-4.0, -5, -6, -7]])  # more than the first? hardly
    losses = [ordinal.loss(low, torch.tensor([wrong])).item() for wrong in (0, 1, 4)]
    assert losses[0] < losses[1] < losses[2]
