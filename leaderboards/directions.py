"""Where each term of GradInversion's objective points: towards the private image, or nowhere near it.

`python leaderboards/directions.py OUT` writes `OUT.csv` and `OUT.png`: the cosine between a term's descent direction
and the way to the original, on the line from noise to it and at the picture that the statistics alone lead to, with the
image's own update or statistics as target and with another image's. 0 is chance. Tuning images, and for the picture
evaluation images: nothing is chosen by them.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import gradinv
from gradinv.attacks.gradient_matching import create_distance, norm
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import create_dataset, draw_batch
from gradinv.benchmark.victims import VictimSpec, load_victim, normalise
from gradinv.metrics.statistics import interval

DISTANCES = ("l2", "squared_l2", "cosine")
SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.97)
"""Of the way from noise to the original."""
IMAGES = 16
SHARPNESS = 8.0  # of the softplus functions
_TRAINED = {"model": "test_resnet", "state": "trained", "epochs": 20}
_PRETRAINED = {"model": "tf_efficientnet_lite0", "state": "pretrained"}


@dataclass(frozen=True)
class Network:
    """A victim on its images; `soft`: with ReLU6 replaced by softplus functions, `double`: in double precision."""

    name: str
    dataset: str
    image_size: int
    victim: Mapping[str, Any]
    soft: bool = False
    double: bool = False
    pictures: bool = False
    """Whether the pictures that its statistics lead to are looked at too."""


NETWORKS = (
    *(Network(f"untrained {seed}", "cifar10_jpeg", 32, {**_TRAINED, "round": 0, "seed": seed}) for seed in range(3)),
    *(Network(f"trained {seed}", "cifar10_jpeg", 32, {**_TRAINED, "seed": seed}) for seed in range(3)),
    Network("pretrained", "imagenet1000", 64, _PRETRAINED, pictures=True),
    Network("pretrained, smooth", "imagenet1000", 64, _PRETRAINED, soft=True),
    Network("pretrained, double", "imagenet1000", 64, _PRETRAINED, double=True),
)


class SmoothReLU6(nn.Module):
    """softplus(x) - softplus(x - 6), sharp: ReLU6 with a second derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.softplus(x, SHARPNESS) - nn.functional.softplus(x - 6, SHARPNESS)


def smooth(network: nn.Module) -> None:
    """Replace every ReLU6, in place."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ReLU6):
                setattr(module, name, SmoothReLU6())


def alignments(
    victim: Victim, candidate: Tensor, original: Tensor, other: Tensor, labels: Tensor
) -> Iterator[dict[str, Any]]:
    """Cosine of each term's descent direction at `candidate` and the way to `original`; images (1, C, H, W)."""
    targets = {"true": original, "other": other}
    updates = {name: [g.detach() for g in victim.update(images, labels)] for name, images in targets.items()}
    statistics = {name: victim.bn_statistics(images) for name, images in targets.items()}
    way = (original - candidate).flatten()
    variable = candidate.clone().requires_grad_(True)
    with victim.recording_bn_statistics() as recorded:
        gradients = victim.update(variable, labels)
    layers = [recorded[index] for index in range(len(victim.bn_layers))]
    for target in targets:
        terms = {}
        for key in DISTANCES:
            distance = create_distance(key)
            terms[key] = distance.value(gradients, distance.prepare(updates[target]))
        terms["bn"] = torch.stack([
            norm(mean - to_mean) + norm(variance - to_variance)
            for (mean, variance), (to_mean, to_variance) in zip(layers, statistics[target], strict=True)
        ]).sum()  # fmt: skip
        for term, value in terms.items():
            (slope,) = torch.autograd.grad(value, variable, retain_graph=True)
            cosine = nn.functional.cosine_similarity(-slope.flatten(), way, dim=0)
            yield {"term": term, "target": target, "cosine": cosine.item()}


def measured(network: Network) -> Iterator[dict[str, Any]]:
    """One row for each image, place, term and target."""
    data = create_dataset(network.dataset, network.image_size, download=False)
    loaded = load_victim(VictimSpec(**network.victim), data, download=False, progress=False)
    if network.soft:
        smooth(loaded.module)
    kind = torch.float64 if network.double else torch.float32
    victim = Victim(loaded.module.to(kind))
    for number in range(IMAGES):
        for place, images, labels, other in _places(network, data, number):
            seen, original, another = (
                normalise(pixels, loaded.mean, loaded.std).to(kind) for pixels in (images[0], images[1], other)
            )
            if place != "statistics":  # noise is drawn as the attack draws it: where the network sees images
                noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(number)).to(kind)
                seen = original + (1 - float(place)) * (noise - original)
            for row in alignments(victim, seen, original, another, labels):
                yield {"network": network.name, "place": place, "image": number, **row}


def _places(network: Network, data: Any, number: int) -> Iterator[tuple[str, tuple[Tensor, Tensor], Tensor, Tensor]]:
    """Place, (what stands there, original), label and another image: along the line, then where the statistics lead."""
    batch, other = (draw_batch(data, repetition=number + step, batch_size=1, role="tuning") for step in (0, 100))
    for share in SHARES:
        yield f"{share:g}", (batch.images, batch.images), batch.labels, other.images
    if not network.pictures:
        return
    done = gradinv.trial(
        "gradinversion.fidelity", control="prior_only", dataset=network.dataset, image_size=network.image_size,
        victim={name: value for name, value in network.victim.items() if name not in ("model", "state")},
        model=network.victim["model"], state=network.victim["state"], repetition=number, budget=300, metrics=["psnr"],
        threat_model={"labels": "known", "bn_statistics": "exact"}, device="cpu",
    )  # fmt: skip
    attacked = draw_batch(data, repetition=number, batch_size=1)
    stranger = draw_batch(data, repetition=number + 100, batch_size=1)
    yield "statistics", (done.reconstructions, attacked.images), attacked.labels, stranger.images


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over images with their 95 % intervals."""
    fields = ["network", "place", "term", "target"]
    means = []
    for key, group in rows.groupby(fields, sort=False):
        cosines = interval(group["cosine"].to_numpy())
        numbers = {"cosine_mean": cosines.mean, "cosine_low": cosines.low, "cosine_high": cosines.high}
        means.append({**dict(zip(fields, key, strict=True)), **numbers, "n_images": cosines.n})
    return pd.DataFrame(means)


def drawn(means: pd.DataFrame) -> Figure:
    """A panel a network: cosine over the share of the way, a line a term, dashed with another image's target."""
    names = ["untrained 0", "trained 0", "pretrained"]
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        of_network = means[means["network"] == name]
        for index, term in enumerate((*DISTANCES, "bn")):
            for target, line in (("true", "-"), ("other", "--")):
                points = of_network[(of_network["term"] == term) & (of_network["target"] == target)]
                on_line = points[points["place"] != "statistics"]
                x = on_line["place"].astype(float)
                words = term if target == "true" else None
                axis.plot(x, on_line["cosine_mean"], line, color=f"C{index}", label=words, marker="o", ms=3)
                if target == "true":
                    axis.fill_between(x, on_line["cosine_low"], on_line["cosine_high"], color=f"C{index}", alpha=0.15)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="share of the way from noise to the original")
    figure.axes[0].set_ylabel("cosine of a term's descent\nand the way to the original")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle(
        f"Where does each term point? Mean over {IMAGES} images, shaded: 95 %; dashed: another image's target",
        fontsize=10,
    )
    return figure


def main(out: Path) -> None:
    """Measure every network, and write the table and its figure."""
    rows = []
    for network in NETWORKS:
        rows += list(measured(network))
        print(f"{network.name}: done", flush=True)
    means = table(pd.DataFrame(rows))
    means.to_csv(out.with_suffix(".csv"), index=False, lineterminator="\n")
    drawn(means).savefig(out.with_suffix(".png"), dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
