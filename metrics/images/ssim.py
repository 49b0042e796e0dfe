"""SSIM: whether two images have the same local structure."""

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from gradinv.metrics.images.scoring import register_metric

_BORDER = 5  # half of the 11 pixel window: where it would reach over the edge


@register_metric(
    "ssim",
    title="SSIM",
    meaning="structural similarity, Wang et al. 2004, on the valid window",
    direction="higher",
    low=-1.0,
    high=1.0,
    min_size=11,  # the window
    board_column=20,
    panel=True,
)
def ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity of each image, averaged over the valid window: no padded pixel counts.

    (B, C, H, W) in [0, 1] -> (B,) in [-1, 1]. Gaussian window of 11 pixels, sigma 1.5, K = (0.01, 0.03), per channel
    (Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", Eq. 13).
    """
    _, full = structural_similarity_index_measure(
        reconstructions, originals, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    # The library's map reaches to the edge, over padded pixels; the paper's window never leaves the image.
    valid = full[..., _BORDER:-_BORDER, _BORDER:-_BORDER]
    # Of an image that is exact but for rounding, single precision makes a little more than 1.
    return valid.mean((1, 2, 3)).clamp(-1, 1)
