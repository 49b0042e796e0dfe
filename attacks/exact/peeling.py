"""Peeling: neurons that one image alone activates tell it, it is taken away, and others are left with one image."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.closed_form import ClosedForm, partial_result
from gradinv.attacks.exact.first_layer import cut_at, find_first_layer, reason_of_mixing, reason_without_first_layer
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack, register_preset
from gradinv.attacks.victim import Victim

SHARIATI_2025 = Paper(
    title="Gradient Inversion via LT Codes: a cascading attack on the first fully connected layer",
    authors="Saeed Shariati",
    venue="public code, Gradient-Inversion-via-LT-Codes",
    year=2025,
    url="https://github.com/SaeedShariati/Gradient-Inversion-via-LT-Codes",
)
MARGIN = 0.1
"""In units of pixel value, how far outside [0, 1] a candidate may be: those of several images mostly are."""
CHUNK = 256
FEWEST_VOTES = 5
"""Neurons of the same unknown factor from which on it is no coincidence."""


class Precision(NamedTuple):
    """What rounding leaves of an equality, relative: of the certificate, of a zero gradient, of two equal images.

    `support` is how many neurons must agree on an image, and `proves_alone` whether that proves it by itself: in single
    precision a mixture of images passes now and then, and only the batch as a whole is evidence.
    """

    tolerance: float
    zero: float
    same: float
    support: int
    proves_alone: bool


PRECISIONS = {
    torch.float64: Precision(1e-6, 1e-10, 1e-5, support=1, proves_alone=True),
    torch.float32: Precision(1e-3, 1e-5, 1e-3, support=2, proves_alone=False),
}


@dataclass(frozen=True)
class Candidates:
    """What isolated neurons would be evidence of: images (N, n), their neurons (N,) and v (N, classes).

    v is the bias gradient that the neuron would have from that image alone, with each label, times the batch size.
    """

    images: Tensor
    neurons: Tensor
    predicted: Tensor


class Peeled(NamedTuple):
    """Images (K, n) with their labels (K,)."""

    images: Tensor
    labels: Tensor


@register_attack(
    "peeling",
    paper=SHARIATI_2025,
    exact=True,
    letter="B",
    needs="a fully connected layer with a bias and ReLU on the pixels; no batch norm in train mode",
)
class Peeling(ClosedForm):
    """Cascading inversion of a first fully connected layer, with a certificate for every image (Eq. 9, 12-16).

    A neuron's weight gradient over its bias gradient is an image where one image alone activates it. Such a candidate
    is tried: passed through the network, with every label, it must give that neuron the very bias gradient that was
    observed. What passes is proved without any original; it is subtracted, and the next round finds what it hid.
    Labels come out as a by-product. With `scale` estimated, and where the defense is known to clip, the update may be
    the batch's times one unknown factor, on which neurons vote. `loosen` multiplies the certificate's tolerance, for
    noisy updates: what is found above 1 is not certified. In single precision an image is certified only where the
    whole batch was found and gives the layer's whole gradient: about one image in a hundred passes alone and is wrong.
    No round is an evaluation: it asks the network for gradients of the layer's outputs and never of its parameters.
    """

    most_evaluations = 0

    def __init__(
        self,
        *,
        scale: Literal["stated", "estimated"] = "stated",
        loosen: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0,
    ) -> None:
        self.scale, self.loosen = scale, loosen

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """No such layer, or images that are not passed one by one."""
        return (
            reason_of_mixing(conditions) or super().reason_to_skip(conditions) or reason_without_first_layer(conditions)
        )

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Peel until a round finds nothing; nothing is drawn at random."""
        victim.require_fit(leak)
        peeler = Peeler(leak, victim, self.loosen)
        if self.scale == "estimated" or leak.transform.startswith("clipped"):
            peeler.estimate_scale()
        # Every round takes images out, so that there are at most as many as images: no budget has to end it.
        while peeler.peel():
            pass
        # Round by round, so that what was certified first comes first: no order of the client's is known.
        images: list[Tensor] = [image for batch in peeler.peeled for image in batch.images]
        labels: list[int] = [label for batch in peeler.peeled for label in batch.labels.tolist()]
        certified = [self.loosen == 1 and peeler.is_proof] * len(labels)
        return partial_result(leak, images, labels, label_method="inferred:peeling", certified=certified, evaluations=0)


register_preset("peeling.clipped", scale="estimated")


class Peeler:
    """What is left of the first layer's gradients (m, n) and (m,), and what was taken out of them."""

    def __init__(self, leak: Leak, victim: Victim, loosen: float) -> None:
        self.leak, self.victim = leak, victim
        self.layer = find_first_layer(victim.module, leak.image_shape)
        # Copies: what is found is subtracted in place, and the leak is not this attack's own.
        self.weight, self.bias = leak.gradients[self.layer.weight].clone(), leak.gradients[self.layer.bias].clone()
        self.precision = PRECISIONS[self.bias.dtype]
        self.tolerance = self.precision.tolerance * loosen
        self.zero = self.precision.zero * float(self.bias.abs().max())
        self.peeled: list[Peeled] = []
        self.scale: float | None = 1.0
        self.length = float(self.weight.norm())

    @property
    def missing(self) -> int:
        """Images of the batch that are still to be found."""
        return self.leak.batch_size - sum(len(batch.labels) for batch in self.peeled)

    @property
    def is_proof(self) -> bool:
        """Whether what was found is proved: image by image, or by the batch, of which nothing is left over."""
        if self.precision.proves_alone:
            return True
        return self.missing == 0 and float(self.weight.norm()) < self.tolerance * self.length

    def estimate_scale(self) -> None:
        """Divide both gradients by the factor that most neurons agree on; where too few do, nothing will be found."""
        candidates = self._candidates()
        # Every true (neuron, label) pair gives the same factor, every wrong one another: the truth is where they crowd.
        ratios = self.leak.batch_size * self.bias[candidates.neurons, None] / candidates.predicted
        self.scale = voted(ratios[ratios > 0].flatten(), self.tolerance)
        if self.scale is not None:
            self.weight, self.bias = self.weight / self.scale, self.bias / self.scale
            # Thresholds are in the units of the gradient, which has just been rescaled.
            self.zero, self.length = self.zero / self.scale, self.length / self.scale

    def peel(self) -> bool:
        """One round: accept what passes the certificate, subtract it; False where there was nothing."""
        if self.scale is None or self.missing == 0:
            return False
        accepted = self._accepted()
        if not len(accepted.labels):
            return False
        self.peeled.append(accepted)
        gradients = self._output_gradients(accepted)
        self.weight -= gradients.T @ accepted.images
        self.bias -= gradients.sum(0)
        return True

    def _candidates(self) -> Candidates:
        """The quotients of all live neurons that are images, with what they would predict."""
        neurons = (self.bias.abs() > self.zero).nonzero().flatten()
        images = self.weight[neurons] / self.bias[neurons, None]
        # Cheap and first: with every label tried, a candidate costs as many backward passes as there are classes.
        inside = self._inside(images)
        images, neurons = images[inside], neurons[inside]
        chunks = zip(images.split(CHUNK), neurons.split(CHUNK), strict=True)
        predicted = [self._predicted(*chunk) for chunk in chunks]
        shape = (0, self.leak.num_classes)
        return Candidates(images, neurons, torch.cat(predicted) if predicted else images.new_zeros(shape))

    def _shaped(self, images: Tensor) -> Tensor:
        return images.view(-1, *self.leak.image_shape)

    def _inside(self, images: Tensor) -> Tensor:
        """Which of the candidates (N, n) are in the range of pixels, but for a margin."""
        channels = images.unflatten(1, (self.leak.image_shape[0], -1))
        mean, std = (images.new_tensor(values)[:, None] for values in (self.leak.mean, self.leak.std))
        pixels = channels * std + mean
        return ((pixels > -MARGIN) & (pixels < 1 + MARGIN)).flatten(1).all(1)

    def _accepted(self) -> Peeled:
        """Distinct candidates that pass the certificate, those of most neurons first, at most as many as are missing.

        An image that has been found before is none: in exact arithmetic nothing of it is left.
        """
        candidates = self._candidates()
        observed = self.bias[candidates.neurons, None]
        errors, labels = ((candidates.predicted / self.leak.batch_size - observed).abs() / observed.abs()).min(1)
        passed = errors < self.tolerance
        images, labels, errors = candidates.images[passed], labels[passed], errors[passed]
        # The exactest first: it stands for those that agree with it.
        order = errors.argsort(stable=True)
        groups = _distinct(images[order], [batch.images for batch in self.peeled])
        strong = sorted((group for group in groups if len(group) >= self.precision.support), key=len, reverse=True)
        chosen = order[[group[0] for group in strong[: self.missing]]]
        return Peeled(images[chosen], labels[chosen])

    def _predicted(self, images: Tensor, neurons: Tensor) -> Tensor:
        """(N, classes): the gradient of each candidate's loss for its neuron's output, with every label."""
        with cut_at(self.layer, self.victim.module, self._shaped(images)) as (outputs, logits):
            # J[:, c], each candidate's derivative of logit c for its own neuron; candidates do not meet in the network.
            columns = [
                torch.autograd.grad(logits[:, label].sum(), outputs, retain_graph=True)[0].gather(1, neurons[:, None])
                for label in range(logits.shape[1])
            ]
            derivatives = torch.cat(columns, dim=1)
            # d CE(c)/dz = sum_k p_k J_k - J_c: all labels from one set of derivatives of the logits.
            return (logits.softmax(1) * derivatives).sum(1, keepdim=True).detach() - derivatives

    def _output_gradients(self, accepted: Peeled) -> Tensor:
        """(K, m): what the accepted images give each neuron's output in the batch's mean loss."""
        with cut_at(self.layer, self.victim.module, self._shaped(accepted.images)) as (outputs, logits):
            # The client's mean is over its whole batch, not over those that were accepted in this round.
            loss = nn.functional.cross_entropy(logits, accepted.labels, reduction="sum") / self.leak.batch_size
            return torch.autograd.grad(loss, outputs)[0]


def _distinct(images: Tensor, earlier: list[Tensor]) -> list[list[int]]:
    """Groups of indices of images (N, n) that are one image, each led by the first; none of an earlier one."""
    leaders = torch.cat([*earlier, images[:0]])
    taken = len(leaders)
    groups: list[list[int]] = []
    for index, image in enumerate(images):
        distances = (leaders - image).norm(dim=1) / image.norm().clamp_min(1e-12)
        nearest = int(distances.argmin()) if len(leaders) else -1
        if nearest >= 0 and float(distances[nearest]) < PRECISIONS[images.dtype].same:
            # Agreeing with an image of an earlier round is no vote: it was subtracted, what is left of it is rounding.
            if nearest >= taken:
                groups[nearest - taken].append(index)
        else:
            leaders = torch.cat([leaders, image[None]])
            groups.append([index])
    return groups


def voted(ratios: Tensor, tolerance: float) -> float | None:
    """The positive number that most of the ratios agree on within a relative tolerance; None where hardly any do.

    >>> round(voted(torch.tensor([0.5, 0.3, 0.5, 0.7, 0.5, 0.5, 0.5, 0.1]), 1e-3), 6)
    0.5
    """
    # In logarithms a relative tolerance is an interval of one length, which two pointers can slide along.
    values = ratios[torch.isfinite(ratios)].double().log().sort().values
    if not len(values):
        return None
    ends = torch.searchsorted(values, values + tolerance, right=True)
    votes = ends - torch.arange(len(values), device=values.device)
    most = int(votes.argmax())
    if int(votes[most]) < FEWEST_VOTES:
        return None
    return float(values[most : int(ends[most])].median().exp())
