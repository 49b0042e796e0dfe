"""GradInversion: gradient, fidelity priors, noise on the image, and agents held together by a registered consensus."""

from typing import Annotated, Literal

from pydantic import Field

from gradinv.attacks.gradient_matching import (
    Adam,
    BatchNormStatistics,
    GradientMatching,
    GroupConsistency,
    ImageL2,
    LabelPolicy,
    Prediction,
    ReconstructionError,
    TotalVariationL2,
    coarse_levels_first,
    create_distance,
    warmup_cosine,
)
from gradinv.attacks.registry import Paper, register_attack, register_preset

YIN_2021 = Paper(
    title="See through Gradients: Image Batch Recovery via GradInversion",
    authors="Hongxu Yin, Arun Mallya, Arash Vahdat, Jose M. Alvarez, Jan Kautz, Pavlo Molchanov",
    venue="CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2104.07586",
)

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


@register_attack(
    "gradinversion",
    paper=YIN_2021,
    letter="B",
    needs="batch-norm statistics; exact ones are letter E",
)
class GradInversion(GradientMatching):
    """Layer-wise l2 (Eq. 3), fidelity priors (Eq. 9-10) and group consistency (Eq. 11-12), by Adam with noise.

    Labels are those granted, else inferred by `label_rule` (the paper's is the min rule, Eq. 8). The learning rate
    warms up over 50 steps and falls as a cosine; after each step the images get `alpha_noise` times the learning rate
    times N(0, 1) and are clipped to the pixel box, as in the authors' DeepInversion code (the paper does not say). Of
    the agents the one is returned whose gradient and fidelity terms are best, among its iterates from `group_start` on;
    group term and noise have no part in it. `iterations` are those of each agent. `distance` cosine (the paper's Table
    5) is 1 - cosine, times `alpha_grad`, and so is any other of `DISTANCES`. One agent is no group; with `alpha_group`
    0 the agents are restarts.

    `levels` above 1 is another: a pyramid stands for the images, whose coarse levels find their shapes first, as in
    feature visualisation (Olah et al. 2017). The noise then falls on the finest. After the share `coarse_first` of the
    steps all levels move, and before it only the coarser ones, from the coarsest on. With `decoder` it is the code of
    the autoencoder that public images have trained (as in the latent space of Jeon et al. 2021).

    `weights` shares is an extension of ours and none of the paper's: the alphas of the objective are shares of it where
    the first agent starts, and the group's is what its term would be there, so that one setting means the same on a
    LeNet and on a ResNet-50. One evaluation of the budget finds the weights.
    """

    def __init__(
        self,
        *,
        alpha_grad: Weight = 1e-3,
        alpha_tv: Weight = 1e-4,
        alpha_l2: Weight = 1e-6,
        alpha_bn: Weight = 0.1,
        alpha_group: Weight = 0.01,
        alpha_noise: Weight = 0.2,
        weights: Literal["absolute", "shares"] = "absolute",
        agents: Count = 8,
        consensus: Literal["registered", "lazy"] = "registered",
        # Shares and not numbers of steps, so that a suite's smaller budget keeps the phases of the paper.
        group_start: Annotated[float, Field(ge=0, lt=1)] = 5_000 / 20_000,
        group_every: Annotated[float, Field(gt=0, le=1)] = 100 / 20_000,
        distance: str = "l2",
        init: str = "normal",
        alpha_prediction: Weight = 0.0,
        alpha_autoencoder: Weight = 0.0,
        levels: Annotated[int, Field(ge=1, le=8)] = 1,
        coarse_first: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        decoder: bool = False,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Count = 20_000,
        restarts: Count = 1,
        label_rule: str = "min",
    ) -> None:
        super().__init__(
            # None and not a weight of 0: no gradient is computed then, and the record does not claim that one was used.
            distance=create_distance(distance, alpha_grad) if alpha_grad else None,
            priors=[
                TotalVariationL2(alpha_tv),
                ImageL2(alpha_l2),
                BatchNormStatistics(alpha_bn),
                Prediction(alpha_prediction),
                ReconstructionError(alpha_autoencoder),
            ],
            coupling=GroupConsistency(agents, alpha_group, consensus, group_start, group_every, weights == "shares"),
            optimizer=coarse_levels_first(Adam(lr, warmup_cosine(50), noise=alpha_noise), levels, coarse_first),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule=label_rule),
            shares=weights == "shares",
            init=init,
            levels=levels,
            decoder=decoder,
        )

    @property
    def search_space(self) -> dict[str, float]:
        """All weights but the gradient's: to Adam only their ratios matter."""
        group = {"alpha_group": 1e2} if self.agents > 1 else {}
        return {"alpha_tv": 1e3, "alpha_l2": 1e3, "alpha_bn": 1e4, "alpha_noise": 10.0, "lr": 10.0, **group}


# The ladder of the paper's Table 2, from the bottom; then each term left out of `fidelity`, which has no group.
register_preset("gradinversion.grad_only", agents=1, alpha_tv=0.0, alpha_l2=0.0, alpha_bn=0.0)
register_preset("gradinversion.fidelity", agents=1)
# Equal to `fidelity` by construction: one name for the ladder, one for the list of what is left out.
register_preset("gradinversion.no_group", agents=1)
register_preset("gradinversion.lazy_group", consensus="lazy")
register_preset("gradinversion.no_tv", agents=1, alpha_tv=0.0)
register_preset("gradinversion.no_l2", agents=1, alpha_l2=0.0)
register_preset("gradinversion.no_bn", agents=1, alpha_bn=0.0)
register_preset("gradinversion.no_noise", agents=1, alpha_noise=0.0)
# The paper does not give the weight of its cosine: this one makes the term start about where the l2 term starts.
register_preset("gradinversion.cosine", agents=1, distance="cosine", alpha_grad=0.3)
# An extension of ours, not of the paper: weights as shares of the objective where the attack starts, one agent. The
# shares are a guess, which nobody has tuned; without batch norm, or its statistics, the rest keeps its weights.
_BALANCED = {"weights": "shares", "agents": 1, "alpha_grad": 0.6, "alpha_tv": 0.2, "alpha_l2": 0.0, "alpha_group": 0.0}
register_preset("gradinversion.balanced", **_BALANCED, alpha_bn=0.2)
register_preset("gradinversion.balanced_no_bn", **_BALANCED, alpha_bn=0.0)
# The same over a pyramid, without noise: the row that a new attack must beat where no statistics are granted and the
# network is untrained. Chosen on tuning images of CIFAR-10 (leaderboards/stronger-cifar10.md).
_PYRAMID = {**_BALANCED, "alpha_tv": 0.06, "alpha_bn": 0.0, "alpha_noise": 0.0, "levels": 4}
register_preset("gradinversion.pyramid", **_PYRAMID)
# The same for trained networks, whose gradients are short where they are certain: a cosine, and coarse levels first
# (leaderboards/stronger-trained.md).
register_preset("gradinversion.coarse_to_fine", **_PYRAMID, distance="cosine", coarse_first=0.5)
