"""Soteria: the classifier's gradient without the features that tell most of the image."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from gradinv.attacks.registry import Paper
from gradinv.attacks.victim import NoClassifierError, find_classifier
from gradinv.benchmark.defenses.base import ClientStep, Defense, UndefendableError, register_defense
from gradinv.benchmark.defenses.whole_update import mask_before

SUN_2021 = Paper(
    title="Soteria: Provable Defense against Privacy Leakage in Federated Learning from Representation Perspective",
    authors="Jingwei Sun, Ang Li, Binghui Wang, Huanrui Yang, Hai Li, Yiran Chen",
    venue="CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2012.06043",
)
_FLOOR = 0.1  # added to a feature before the division, so that the score of a feature of zero is finite
_AT_ONCE = 32  # features whose Jacobians are held together


@register_defense("soteria", paper=SUN_2021)
class Soteria(Defense):
    """Zero the classifier's gradient for the share `ratio` of features with the smallest score (Sun et al. 2021).

    The score of feature r_f is the sum over the batch of ||d r_f / d x|| / (|r_f| + 0.1), x the image; its column of
    the classifier's weight gradient is zeroed. All other tensors, the bias's too, are sent as they are. Exactly
    floor(ratio * F) of F columns, of equal scores the first. Ratio 0 changes no bit.
    """

    acts = ("update",)
    keeps_zeros = True
    knowable = "which columns are zero: it shows; every other tensor is exact"
    cost = "the classifier's slowest features; F backward passes a round"
    grid = ("soteria[ratio=0.4]", "soteria[ratio=0.6]", "soteria[ratio=0.8]")
    neutral = "soteria[ratio=0]"

    def __init__(self, *, ratio: Annotated[float, Field(ge=0, le=1)] = 0.6) -> None:
        self.ratio = ratio

    def on_step(self, update: dict[str, Tensor], step: ClientStep, generator: Generator) -> dict[str, Tensor]:
        """The update with columns of the classifier's weight set to zero."""
        try:
            name = find_classifier(step.module, step.images)
        except NoClassifierError as error:
            raise UndefendableError(f"soteria defends the classifier: {error}") from error
        scores = feature_scores(step.module, name.rpartition(".")[0], step.images)
        zeroed = scores.argsort(stable=True)[: int(self.ratio * len(scores))]
        return {**update, name: update[name].index_fill(1, zeroed, 0)} if len(zeroed) else update

    def known(self) -> str:
        """A mask: of the classifier only what is sent counts, and everything else is exact."""
        return self.known_before([])

    def known_before(self, later: Sequence[Defense]) -> str:
        """The same where no later defense fills the zeros."""
        return mask_before(later)


def feature_scores(module: nn.Module, classifier: str, images: Tensor) -> Tensor:
    """The score (F,) of every feature that enters the layer of that name."""
    seen: list[Tensor] = []
    handle = module.get_submodule(classifier).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        leaf = images.detach().requires_grad_(True)
        module(leaf)
    finally:
        handle.remove()
    features = seen[0].flatten(1)
    # Summed over the batch: in eval mode an image's features depend on that image alone, so its slope is its own
    # Jacobian. In train mode batch norm adds what the image does to the features of the others.
    total = features.sum(dim=0)
    lengths = []
    for rows in torch.eye(len(total), dtype=total.dtype, device=total.device).split(_AT_ONCE):
        (slopes,) = torch.autograd.grad(total, leaf, rows, is_grads_batched=True, retain_graph=True)
        lengths.append(slopes.flatten(2).norm(dim=2))
    return (torch.cat(lengths) / (features.detach().abs().T + _FLOOR)).sum(dim=1)
