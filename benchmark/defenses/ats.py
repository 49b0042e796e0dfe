"""ATS: augmentations chosen so that gradients tell little of the image and the network learns all the same."""

import torch
from torch import Generator, Tensor

from gradinv.attacks.augmentations import apply_policy, parse_policies
from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import Defense, register_defense

GAO_2021 = Paper(
    title="Privacy-preserving Collaborative Learning with Automatic Transformation Search",
    authors="Wei Gao, Shangwei Guo, Tianwei Zhang, Han Qiu, Yonggang Wen, Yang Liu",
    venue="CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2011.12505",
)


@register_defense("ats", paper=GAO_2021)
class ATS(Defense):
    """Train on images after augmentations that were searched for (Gao et al. 2021, section 4).

    `policy` numbers them in `gradinv.attacks.augmentations`; of several policies, joined by `/`, each image draws one.
    The default is what `search_policies` found on eight tuning images of `photos` at 16 px for the untrained sigmoid
    LeNet, of 200 candidates at seed 0; its scores of privacy hardly differ there (0.90 against 0.92 without any).
    Another data set asks for a search of its own. Ours has 25 differentiable augmentations, the paper's library 50. An
    empty policy changes no bit. Scored is the private image, not what the network saw of it.
    """

    randomises = True
    knowable = "the policies; of several not which of them an image drew"
    cost = "augmented examples, which may even help; what leaves the frame is lost to the training too"
    grid = ("ats[policy=13-20]", "ats", "ats[policy=4-20-22/10-20-18/22-4-20]")
    neutral = "ats[policy=]"

    def __init__(self, *, policy: str | int = "4-20-22/10-20-18") -> None:
        self.policy = str(policy)  # a single number is read as one
        self.policies = parse_policies(self.policy)

    def on_batch(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The augmented images and their labels."""
        if not self.policies:
            return images, labels
        drawn = torch.randint(len(self.policies), (len(images),), generator=generator).tolist()
        augmented = [
            apply_policy(image[None], self.policies[index]) for image, index in zip(images, drawn, strict=True)
        ]
        return torch.cat(augmented), labels

    def known(self) -> str:
        """The same policies on the candidate; which of several an image drew is found with it."""
        return f"augmented[policy={self.policy}]" if self.policies else ""
