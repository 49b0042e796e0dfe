"""The script behind the page on where each term points: its cosines, its smooth activation, its table."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims import build_network
from gradinv.metrics.statistics import interval

PATH = Path(__file__).parents[2] / "leaderboards" / "directions.py"


@pytest.fixture(scope="module")
def directions():
    spec = importlib.util.spec_from_file_location("directions", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cosines(directions):
    """(term, target) -> the cosine, close to an original on an untrained network in double precision."""
    network = build_network("test_resnet", num_classes=10, image_size=16, untrained=True).double()
    original, other, noise = torch.randn(3, 1, 3, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    candidate = original + 1e-3 * (noise - original)
    rows = directions.alignments(Victim(network), candidate, original, other, torch.tensor([3]))
    return {(row["term"], row["target"]): row["cosine"] for row in rows}


@pytest.mark.parametrize("term", ["l2", "squared_l2", "cosine", "bn"])
def test_close_to_the_original_every_term_points_to_it_and_none_of_another_image_does(cosines, term):
    assert cosines[term, "true"] > 0.1
    assert cosines[term, "other"] < 0.5 * cosines[term, "true"]


def test_a_cosine_is_that_of_finite_differences(directions):
    """Of the squared l2 distance of updates, written out, along the way and by its length."""
    torch.manual_seed(0)
    network = build_network("test_resnet", num_classes=4, image_size=8, untrained=True).double()
    original, other, candidate = torch.randn(3, 1, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    victim, label = Victim(network), torch.tensor([1])

    def distance(images):
        pairs = zip(victim.update(images, label), victim.update(original, label), strict=True)
        return sum((ours - theirs).detach().square().sum() for ours, theirs in pairs).item()

    step = 1e-5
    slope = torch.zeros(candidate.numel(), dtype=torch.float64)
    for place in range(candidate.numel()):
        moved = torch.zeros_like(slope)
        moved[place] = step
        shift = moved.view_as(candidate)
        slope[place] = (distance(candidate + shift) - distance(candidate - shift)) / (2 * step)
    way = (original - candidate).flatten()
    expected = (-slope @ way / slope.norm() / way.norm()).item()
    rows = directions.alignments(victim, candidate, original, other, label)
    cosine = next(row["cosine"] for row in rows if (row["term"], row["target"]) == ("squared_l2", "true"))
    assert cosine == pytest.approx(expected, rel=1e-5)


def test_the_smooth_activation_is_a_relu6_with_a_second_derivative(directions):
    x = torch.linspace(-3, 9, 101, dtype=torch.float64, requires_grad=True)
    smooth = directions.SmoothReLU6()(x)
    assert (smooth - nn.functional.relu6(x)).abs().max() < 0.1
    (slope,) = torch.autograd.grad(smooth.sum(), x, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), x)
    assert curvature.abs().max() > 1
    network = nn.Sequential(nn.ReLU6(), nn.Sequential(nn.ReLU6()))
    directions.smooth(network)
    assert not any(isinstance(module, nn.ReLU6) for module in network.modules())


def test_the_table_has_a_mean_and_its_interval_for_each_term_and_place(directions):
    rows = pd.DataFrame([
        {"network": "n", "place": "0", "image": image, "term": term, "target": "true", "cosine": image * scale}
        for term, scale in (("l2", 0.1), ("bn", 0.2))
        for image in range(3)
    ])  # fmt: skip
    table = directions.table(rows)
    assert table["term"].tolist() == ["l2", "bn"]
    expected = interval([0.0, 0.2, 0.4])
    numbers = table.iloc[1][["cosine_mean", "cosine_low", "cosine_high"]].tolist()
    assert numbers == pytest.approx([expected.mean, expected.low, expected.high])
    assert table["n_images"].tolist() == [3, 3]
