"""The networks behind the page on shifted pictures: of one the update says where an image lies, of the other not."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from gradinv.attacks.victim import Victim
from gradinv.benchmark.plugins import load_plugin

PATH = Path(__file__).parents[2] / "leaderboards" / "shifted.py"


@pytest.fixture(scope="module")
def change_by_a_shift():
    """`change_by_a_shift(model)`: how much a cyclic shift of the image changes the update, relative to its length."""
    load_plugin(PATH)
    image = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def update(victim: Victim, images: Tensor) -> Tensor:
        return torch.cat([gradient.detach().flatten() for gradient in victim.update(images, torch.tensor([3]))])

    def change(model: str) -> float:
        torch.manual_seed(0)
        victim = Victim(timm.create_model(model, num_classes=10).double().eval())
        there, elsewhere = (update(victim, images) for images in (image, image.roll((9, -5), (2, 3))))
        return ((there - elsewhere).norm() / there.norm()).item()

    return change


def test_with_cyclic_padding_the_update_does_not_know_where(change_by_a_shift):
    assert change_by_a_shift("cyclic_convnet") < 1e-12


def test_the_border_tells_where(change_by_a_shift):
    assert change_by_a_shift("bordered_convnet") > 1e-3
