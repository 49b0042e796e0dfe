"""Known breaks: the attack fails against a defense, and works once it does to its candidates what the defense did.

On the sigmoid LeNet, which gives a single image away undefended within these evaluations.
"""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.transforms import create_transform
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import Batch, create_dataset, draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import ClientUpdate, client_update
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.images import match

SIZE, HALF, QUARTER = 16, (0.5,) * 3, (0.25,) * 3
CLASSES = len(create_dataset("photos", SIZE).classes)


@dataclass(frozen=True)
class Defended:
    """A client's defended update of photographs, with all that is needed to attack it."""

    module: nn.Module
    update: ClientUpdate
    batch: Batch
    known: str
    public: Tensor

    def leak(self, transform: str = "", sent: dict[str, Tensor] | None = None) -> Leak:
        """What the server has of the update, or of `sent` in its place."""
        return Leak(
            sent or self.update.sent,
            len(self.batch),
            (3, SIZE, SIZE),
            CLASSES,
            HALF,
            QUARTER,
            ThreatModel(labels="known", bn_statistics="none", adaptive=bool(transform)),
            labels=self.batch.labels,
            transform=transform,
            public=self.public if transform else None,
        )

    def psnr(
        self, transform: str, *, budget: int = 200, sent: dict[str, Tensor] | None = None, attack: str = "idlg"
    ) -> float:
        """Mean PSNR (dB) over the batch of what an attack makes of it."""
        leak = self.leak(transform, sent)
        result = create_attack(attack).reconstruct(leak, Victim(self.module), seed=1, budget=budget)
        pixels = (result.images * 0.25 + 0.5).clamp(0, 1)
        pixels = pixels[match(pixels, self.batch.images)]
        return float(-10 * (pixels - self.batch.images).square().flatten(1).mean(1).log10().mean())


def defended(key: str, *, repetition: int = 1, batch_size: int = 1, seed: int = 0) -> Defended:
    batch = draw_batch(create_dataset("photos", SIZE), repetition=repetition, batch_size=batch_size, max_equal_labels=1)
    defense, images = create_defense(key), (batch.images - 0.5) / 0.25
    module = defense.on_model(build_network("lenet_dlg", num_classes=CLASSES, image_size=SIZE, seed=0))
    update = client_update(module, images, batch.labels, bn_mode="eval", defense=defense, seed=seed)
    return Defended(module, update, batch, defense.known(), defense.public_like(images))


def psnr(key: str, *, adaptive: bool) -> float:
    """PSNR (dB) of iDLG's reconstruction of one photograph after 200 evaluations."""
    client = defended(key)
    return client.psnr(client.known if adaptive else "")


def test_undefended_the_image_leaks() -> None:
    assert psnr("none", adaptive=False) > 25


# DP-SGD without noise is clipping where there is one image; here its bound is another than clipping's.
@pytest.mark.parametrize("key", ["clipping[max_norm=0.001]", "dp_sgd[max_norm=0.1,sigma=0]", "soteria[ratio=0.8]"])
def test_the_defense_holds_until_it_is_known(key: str) -> None:
    assert psnr(key, adaptive=False) < 11
    assert psnr(key, adaptive=True) > 18


@pytest.mark.parametrize(
    ("key", "repetition"), [("sign", 1), ("sign", 2), ("pruning[ratio=0.99]", 3), ("top_k[k=100]", 3)]
)
def test_what_is_sent_of_entries_is_read_by_who_compares_as_much(key: str, repetition: int) -> None:
    client = defended(key, repetition=repetition)
    plain, adaptive = (client.psnr(known, attack="inverting_gradients") for known in ("", client.known))
    assert adaptive > plain + 2


def test_control_knowing_it_helps_nothing_where_the_update_is_gone() -> None:
    # Two entries of ten thousand are left: whoever masks his candidates still knows two numbers.
    assert psnr("top_k[k=2]", adaptive=True) < 11


def test_precode_falls_to_who_solves_for_its_noise() -> None:
    client = defended("precode[scale=10]", seed=1)
    victim = Victim(client.module)
    (solved,) = create_transform("drawn").bound(victim.parameter_names).start(client.leak(), victim)
    torch.testing.assert_close(solved, client.update.drawn["fc.bottleneck.noise"], rtol=1e-4, atol=1e-5)
    assert client.psnr("") < 9
    assert client.psnr(client.known) > 22
    # Control: all but the draw is the same, so that it is the noise, and nothing that was left out, which breaks it.
    other = defended("precode[scale=10]", seed=2).update.sent
    swapped = {n: other[n] if "encoder" in n else value for n, value in client.update.sent.items()}
    assert client.psnr(client.known, sent=swapped) < 11


def test_precode_falls_too_where_noise_is_added_to_what_it_is_solved_from() -> None:
    client = defended("precode[scale=10]+gaussian_noise[sigma=0.01]", repetition=2, seed=2)
    victim, true = Victim(client.module), client.update.drawn["fc.bottleneck.noise"]
    (solved,) = create_transform("drawn").bound(victim.parameter_names).start(client.leak(), victim)
    assert (solved - true).norm() < 0.15 * true.norm()
    # Control: the quotient of the noisy numbers, exact without noise, is twice as far away.
    clean = defended("precode[scale=10]", repetition=2, seed=2).update.sent
    (exact,) = create_transform("drawn").bound(victim.parameter_names).start(client.leak(sent=clean), victim)
    torch.testing.assert_close(exact, true, rtol=1e-3, atol=1e-4)
    d_mean, d_spread = client.update.sent["fc.bottleneck.encoder.bias"].chunk(2)
    clean_mean, clean_spread = clean["fc.bottleneck.encoder.bias"].chunk(2)
    quotient = d_spread / d_mean * (clean_mean * exact[0] / clean_spread)
    assert (quotient.clamp(-6, 6) - true[0]).norm() > 0.3 * true.norm()
    assert client.psnr("") < 9
    assert client.psnr(client.known) > 25


def test_of_signs_the_sign_of_every_number_of_the_noise_is_left() -> None:
    client = defended("precode[scale=10]+sign", repetition=2, seed=2)
    victim, true = Victim(client.module), client.update.drawn["fc.bottleneck.noise"]
    (start,) = create_transform("drawn").bound(victim.parameter_names).start(client.leak(), victim)
    assert torch.equal(start.sign(), true.sign())
    torch.testing.assert_close(start.abs(), torch.full_like(true, (2 / torch.pi) ** 0.5))
    # It is moved on from there, which no noise is that an equation tells.
    assert "drawn[held=false,part=bottleneck]" in client.known
    assert "held" not in defended("precode[scale=10]+clipping").known
    # Control: of other signs in the spread's half of the bias other numbers follow.
    name = "fc.bottleneck.encoder.bias"
    along_mean, along_spread = client.update.sent[name].chunk(2)
    swapped = {**client.update.sent, name: torch.cat([along_mean, -along_spread])}
    (other,) = create_transform("drawn").bound(victim.parameter_names).start(client.leak(sent=swapped), victim)
    assert torch.equal(other, -start)


def test_precode_and_sign_fall_together() -> None:
    client = defended("precode[scale=10]+sign", repetition=4, seed=4)
    assert client.psnr("", attack="inverting_gradients") < 15
    assert client.psnr(client.known, attack="inverting_gradients") > 18


def test_the_noise_of_several_images_is_found_with_them() -> None:
    client = defended("precode[scale=10]", batch_size=2)
    assert client.psnr("ignored[part=bottleneck]+ignored[part=head]") < 9
    assert client.psnr(client.known) > 14


def test_augmentation_falls_to_who_knows_the_policy() -> None:
    client = defended("ats[policy=15-16]")
    assert client.psnr("") < 11
    assert client.psnr(client.known) > 25
    # Control: who undoes another augmentation sees that one's image.
    assert client.psnr("augmented[policy=13]") < 11


def test_mixup_falls_to_who_finds_its_share() -> None:
    client = defended("mixup[alpha=1]", repetition=5, batch_size=2, seed=5)
    assert client.psnr("", budget=250) < 15
    assert client.psnr(client.known, budget=250) > 20
    # Control: at a share of one half both mixtures are the same image, and no other can be told from it.
    halves = defended("mixup[alpha=1e9]", repetition=5, batch_size=2, seed=5)
    assert halves.psnr(halves.known, budget=250) < 11


def test_an_image_among_public_ones_falls_to_who_has_them() -> None:
    client = defended("instahide[k=2,private=1]", repetition=4, seed=4)
    assert client.psnr("") < 9
    assert client.psnr(client.known) > 25
    # Control: who has the public images, and the update of another photograph hidden by the same draw.
    other = defended("instahide[k=2,private=1]", repetition=5, seed=4).update.sent
    assert client.psnr(client.known, sent=other) < 12


@pytest.mark.parametrize("soft", [1e-3, 0.3])
def test_the_smooth_sign_ends_in_the_sign(soft: float) -> None:
    value = torch.randn(200, generator=torch.Generator().manual_seed(0))
    (smooth,) = create_transform(f"signed[size=0.5,softness={soft}]")([value], [])
    assert (smooth.abs() <= 0.5).all()
    assert torch.equal(smooth.sign(), value.sign())
    # Of the median, since an entry next to zero has a magnitude of neither at any softness.
    assert ((smooth - 0.5 * value.sign()).abs().median() < 1e-3) == (soft < 0.01)
