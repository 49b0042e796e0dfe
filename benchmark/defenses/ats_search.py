"""The search for ATS's policies, by two scores that ask for no training and no attack (Gao et al. 2021, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradinv.attacks.augmentations import LIBRARY, Policy, apply_policy
from gradinv.attacks.update import cross_entropy

STEPS = 5
"""Points between the start of an attack and the augmented image at which gradients are compared."""

_EPSILON = 1e-5


@dataclass(frozen=True)
class ScoredPolicy:
    """A policy with its scores: `privacy`, the lower the better, and `accuracy`, the higher the better."""

    policy: Policy
    privacy: float
    accuracy: float


def privacy_score(module: nn.Module, images: Tensor, labels: Tensor, policy: Policy, start: Tensor) -> float:
    """How well gradients lead from `start` to the augmented image: the mean of their cosine over the way.

    Images (B, C, H, W) are normalised and looked at one by one; `start` (C, H, W) is where an attack begins.
    """
    total = 0.0
    for image, label in zip(apply_policy(images, policy), labels, strict=True):
        goal = _gradient(module, image, label)
        for step in range(STEPS):
            between = start + step / STEPS * (image - start)
            total += float(torch.nn.functional.cosine_similarity(_gradient(module, between, label), goal, dim=0))
    return total / (STEPS * len(images))


def accuracy_score(module: nn.Module, images: Tensor, policy: Policy) -> float:
    """How differently an untrained network takes the augmented images (Mellor et al. 2021).

    Minus the sum over the eigenvalues e of the correlations between the images' Jacobians of log(e) + 1 / e: the more
    alike the Jacobians, the harder to tell the images apart.
    """
    leaf = apply_policy(images, policy).detach().requires_grad_(True)
    (jacobians,) = torch.autograd.grad(module(leaf).sum(), leaf)
    # Correlations have no eigenvalue below zero but by rounding, and one of zero where Jacobians depend on each other:
    # its logarithm and its inverse must stay finite.
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(jacobians.flatten(1).double())).clamp_min(0) + _EPSILON
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def search_policies(
    module: nn.Module, images: Tensor, labels: Tensor, *, candidates: int = 200, keep: int = 2, seed: int = 0
) -> tuple[ScoredPolicy, ...]:
    """The `keep` policies with the best privacy among the better half in accuracy of random ones, best first.

    Policies have up to three augmentations. Take images (B, C, H, W), normalised, and labels of the *tuning* split:
    a policy that was chosen by the images it is scored on proves nothing. The network's state is the client's at the
    start. A threshold on the accuracy's score, which the paper sets by hand, is here the median.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(images.shape[1:], generator=generator).to(images)
    # Each policy once and in the order of the draws, which decides between equal scores: sorting is stable.
    drawn = dict.fromkeys(_random_policy(generator) for _ in range(candidates))
    accuracies = {policy: accuracy_score(module, images, policy) for policy in drawn}
    median = sorted(accuracies.values())[len(accuracies) // 2]
    scored = [
        ScoredPolicy(policy, privacy_score(module, images, labels, policy, start), accuracy)
        for policy, accuracy in accuracies.items()
        if accuracy >= median
    ]
    return tuple(sorted(scored, key=lambda entry: entry.privacy)[:keep])


def policy_text(policies: Sequence[ScoredPolicy]) -> str:
    """The policies as `ats[policy=...]` takes them.

    >>> policy_text([ScoredPolicy((3, 1), 0.1, -5.0), ScoredPolicy((4,), 0.2, -5.0)])
    '3-1/4'
    """
    return "/".join("-".join(map(str, entry.policy)) for entry in policies)


def _random_policy(generator: torch.Generator) -> Policy:
    length = int(torch.randint(1, 4, (), generator=generator))
    return tuple(torch.randint(len(LIBRARY), (length,), generator=generator).tolist())


def _gradient(module: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """The parameters' gradient for one image, as one vector."""
    parameters = [value for value in module.parameters() if value.requires_grad]
    loss = cross_entropy(module(image[None]), label[None])
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, parameters)])
