"""GradInversion without its group term: gradient, fidelity priors and noise on the image."""

from typing import Annotated

from pydantic import Field

from attacks.distances import LayerwiseL2
from attacks.matching import GradientMatching, LabelPolicy
from attacks.optimizers import Adam, warmup_cosine
from attacks.priors import BatchNormStatistics, ImageL2, TotalVariationL2
from attacks.registry import Paper, register_attack, register_preset

YIN_2021 = Paper(
    title="See through Gradients: Image Batch Recovery via GradInversion",
    authors="Hongxu Yin, Arun Mallya, Arash Vahdat, Jose M. Alvarez, Jan Kautz, Pavlo Molchanov",
    venue="CVPR 2021",
    year=2021,
    url="https://arxiv.org/abs/2104.07586",
)

Weight = Annotated[float, Field(ge=0)]


@register_attack("gradinversion", paper=YIN_2021)
class GradInversion(GradientMatching):
    """Layer-wise l2 (Eq. 3), total variation, l2 and batch-norm statistics (Eq. 9-10), Adam with noise on the image.

    The group term (Eq. 11-12) is not part of this version, so `gradinversion` equals `gradinversion.fidelity`. Labels
    are those granted, else inferred by the min rule (Eq. 8). The learning rate warms up over 50 steps and falls as a
    cosine; after each step the images get `alpha_noise` times the learning rate times N(0, 1) and are clipped to the
    pixel box, as in the authors' DeepInversion code (the paper does not say).
    """

    def __init__(
        self,
        *,
        alpha_grad: Weight = 1e-3,
        alpha_tv: Weight = 1e-4,
        alpha_l2: Weight = 1e-6,
        alpha_bn: Weight = 0.1,
        alpha_noise: Weight = 0.2,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Annotated[int, Field(ge=1)] = 20_000,
        restarts: Annotated[int, Field(ge=1)] = 1,
    ) -> None:
        super().__init__(
            distance=LayerwiseL2(alpha_grad),
            priors=[TotalVariationL2(alpha_tv), ImageL2(alpha_l2), BatchNormStatistics(alpha_bn)],
            optimizer=Adam(lr, warmup_cosine(50), noise=alpha_noise),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule="min"),
        )


register_preset("gradinversion.fidelity")
register_preset("gradinversion.grad_only", alpha_tv=0.0, alpha_l2=0.0, alpha_bn=0.0)
register_preset("gradinversion.no_tv", alpha_tv=0.0)
register_preset("gradinversion.no_l2", alpha_l2=0.0)
register_preset("gradinversion.no_bn", alpha_bn=0.0)
register_preset("gradinversion.no_noise", alpha_noise=0.0)
