"""Mixed batches, and the mean over clients, against what their definitions say."""

import hashlib

import pytest
import torch
from scipy.stats import beta
from torch import Tensor, nn

from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.datasets import create_dataset, draw_batch, public_images
from gradinv.benchmark.defenses import UndefendableError, create_defense
from gradinv.benchmark.experiment import data_hash
from gradinv.benchmark.experiment.client import ImpossibleCellError, client_update
from gradinv.benchmark.runs.block import Block
from gradinv.benchmark.victims import normalise
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 3, 1, 0, 2, 1])
ROLES = ("train", "tuning", "evaluation")


def mixed(key: str, images: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    return create_defense(key).on_batch(images, LABELS[: len(images)], torch.Generator().manual_seed(seed))


def shares_of(hidden: Tensor, images: Tensor) -> Tensor:
    """The coefficients (B, B) by least squares, in double precision."""
    return torch.linalg.lstsq(images.flatten(1).double().T, hidden.flatten(1).double().T).solution.T


@pytest.mark.parametrize("key", ["mixup[alpha=1.0]", "intra_instahide[flip=false,k=3]"])
def test_images_are_mixed_by_shares_that_sum_to_one_and_labels_alike(key: str, images: Tensor) -> None:
    hidden, labels = mixed(key, images)
    shares = shares_of(hidden, images)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    one_hot = nn.functional.one_hot(LABELS).double()
    torch.testing.assert_close(labels.double(), shares @ one_hot, rtol=1e-4, atol=1e-5)
    assert ((shares.abs() > 1e-5).sum(dim=1) == (2 if "mixup" in key else 3)).all()
    assert (shares > -1e-5).all()


def test_mixup_draws_one_beta_share_a_batch(images: Tensor) -> None:
    draws = torch.stack([shares_of(mixed("mixup[alpha=2.0]", images, seed)[0], images).diag() for seed in range(300)])
    assert draws.std(dim=1).max() < 1e-5
    # Beta(2, 2): mean 1/2, variance 1/20.
    assert draws[:, 0].mean().item() == pytest.approx(0.5, abs=4 * (0.05 / 300) ** 0.5)
    assert draws[:, 0].var().item() == pytest.approx(0.05, rel=0.3)


def test_of_a_small_alpha_shares_are_nearly_all_or_nothing(images: Tensor) -> None:
    hidden = [mixed("mixup[alpha=0.01]", images[:2], seed)[0] for seed in range(200)]
    draws = torch.stack([shares_of(batch, images[:2])[0, 0] for batch in hidden])
    between = ((draws > 0.05) & (draws < 0.95)).double().mean()
    assert between <= beta.cdf(0.95, 0.01, 0.01) - beta.cdf(0.05, 0.01, 0.01) + 4 * (0.03 / 200) ** 0.5
    assert draws.mean().item() == pytest.approx(0.5, abs=4 * (0.25 / 200) ** 0.5)


def test_instahide_s_shares_keep_their_bound_and_signs_are_flipped_by_halves(images: Tensor) -> None:
    for seed in range(20):
        assert shares_of(mixed("intra_instahide[flip=false,k=2]", images, seed)[0], images).max() <= 0.65 + 1e-5
    plain, flipped = mixed("intra_instahide[flip=false,k=3]", images)[0], mixed("intra_instahide[k=3]", images)[0]
    torch.testing.assert_close(plain.abs(), flipped.abs())
    assert (plain.sign() != flipped.sign()).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 1152**0.5)


def photographs(count: int) -> Tensor:
    """Normalised evaluation images of `photos` at 16 px."""
    dataset = create_dataset("photos", 16)
    return normalise(draw_batch(dataset, repetition=0, batch_size=count).images, dataset.mean, dataset.std)


def public() -> Tensor:
    """All public images, normalised."""
    dataset = create_dataset("photos", 16)
    return normalise(public_images(dataset), dataset.mean, dataset.std)


@pytest.mark.parametrize(("k", "private"), [(2, 1), (4, 2), (6, 2), (3, 3)])
def test_instahide_mixes_private_and_public_images_within_its_bounds(k: int, private: int) -> None:
    images = photographs(4)
    for seed in range(10):
        hidden, labels = mixed(f"instahide[flip=false,k={k},private={private}]", images, seed)
        shares = shares_of(hidden, torch.cat([images, public()]))
        own, others = shares[:, :4], shares[:, 4:]
        assert ((own > 1e-6).sum(dim=1) == private).all()
        assert ((others > 1e-6).sum(dim=1) == k - private).all()
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(4, dtype=torch.float64), rtol=1e-4, atol=1e-4)
        assert shares.max() <= 0.65 + 1e-4
        assert own.sum(dim=1).min() >= 0.3 - 1e-4
        # What is public has no label: the labels sum to the shares of what is private.
        one_hot = nn.functional.one_hot(LABELS[:4]).double()
        torch.testing.assert_close(labels.double(), own @ one_hot, rtol=1e-3, atol=1e-3)


def test_public_images_are_neither_attacked_nor_trained_on() -> None:
    dataset = create_dataset("photos", 16)
    hashes = {role: {*map(dataset.split(role).image_hash, range(len(dataset.split(role))))} for role in ROLES}
    pixels = (public_images(dataset).permute(0, 2, 3, 1) * 255).round().byte().numpy()
    drawn = {hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in pixels}
    assert len(drawn) > 200
    assert drawn <= hashes["tuning"]
    assert not drawn & (hashes["train"] | hashes["evaluation"])


def test_signs_are_flipped_and_no_magnitude_changes() -> None:
    images = photographs(4)
    plain, flipped = (mixed(f"instahide[flip={flip}]", images)[0] for flip in ("false", "true"))
    assert torch.equal(plain.abs(), flipped.abs())
    assert (plain.sign() != flipped.sign()).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / 3072**0.5)


def test_a_single_image_is_hidden_among_public_ones_alone() -> None:
    image = photographs(1)
    hidden, labels = mixed("instahide[flip=false,k=2,private=1]", image)
    assert 0.3 <= labels.sum().item() <= 0.65
    assert not torch.equal(hidden, image)
    with pytest.raises(UndefendableError, match="mixes 2 images, and the batch has 1"):
        mixed("instahide", image)


def test_instahide_s_request_is_checked() -> None:
    with pytest.raises(InvalidEntryError, match="private=3 of k=2 images are too many"):
        create_defense("instahide[k=2,private=3]")
    with pytest.raises(UndefendableError, match="photos has images of 3 channels, and the batch of 1"):
        mixed("instahide", photographs(4)[:, :1])
    with pytest.raises(UndefendableError, match="photos has 256 public images"):
        mixed("instahide[k=259]", photographs(4))
    with pytest.raises(UnknownNameError, match="nowhere"):
        mixed("instahide[public=nowhere]", photographs(4))


def test_who_knows_it_answers_where_one_public_image_hides_one_private_one() -> None:
    known = {key: create_defense(key).known() for key in ("instahide[k=2,private=1]", "instahide", "instahide[k=2]")}
    assert known == {
        "instahide[k=2,private=1]": "unhidden[largest=0.65,least=0.35]",
        "instahide": "",
        "instahide[k=2]": "",
    }
    assert create_defense("instahide[flip=false,k=2,least=0.5,private=1]").known() == (
        "unhidden[flip=false,largest=0.65,least=0.5]"
    )


def test_a_trial_s_hash_holds_the_public_images_it_sees() -> None:
    dataset, granted = create_dataset("photos", 16), ThreatModel()
    plain = data_hash(dataset, "idlg", "", granted)
    assert data_hash(dataset, "idlg", "", granted, defense="intra_instahide") == plain
    assert data_hash(dataset, "idlg", "", granted, defense="instahide[k=2,private=2]") == plain
    assert data_hash(dataset, "", "same_class", granted, defense="instahide") == plain
    hidden = data_hash(dataset, "idlg", "", granted, defense="clipping+instahide")
    assert hidden == data_hash(dataset, "idlg", "", granted, defense="instahide")
    assert hidden != plain


def test_tuning_images_are_not_hidden_among_themselves() -> None:
    fields = {
        "victims": [{"model": "lenet_dlg", "state": "untrained"}],
        "attacks": ["idlg"],
        "defenses": ["instahide"],
        "split": "tuning",
    }
    with pytest.raises(ValueError, match="mixes tuning images in; attack the evaluation images"):
        Block.model_validate(fields)
    assert Block.model_validate({**fields, "split": "evaluation"}).defenses == ("instahide",)


def test_a_batch_that_is_too_small_is_refused(images: Tensor) -> None:
    with pytest.raises(UndefendableError, match="mixes 2 images, and the batch has 1"):
        mixed("mixup", images[:1])
    with pytest.raises(UndefendableError, match="mixes 4 images, and the batch has 3"):
        mixed("intra_instahide", images[:3])


def test_labels_get_the_classes_that_nobody_has(images: Tensor) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 9))
    update = client_update(module, images, LABELS, bn_mode="eval", defense=create_defense("mixup"), seed=0)
    assert update.labels.shape == (6, 9)
    torch.testing.assert_close(update.labels.sum(dim=1), torch.ones(6))


@pytest.mark.parametrize("clients", [2, 3, 6])
def test_the_mean_over_clients_is_the_update_of_all_their_images(clients: int, images: Tensor) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5)).double()
    key = f"secure_aggregation[clients={clients}]"
    update = client_update(module, images.double(), LABELS, bn_mode="eval", defense=create_defense(key), seed=0)
    for name, value in update.computed.items():
        torch.testing.assert_close(update.sent[name], value, rtol=1e-12, atol=1e-15)


def test_in_train_mode_each_client_has_statistics_of_its_own(images: Tensor) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)).eval()
    defense = create_defense("secure_aggregation[clients=2]")
    update = client_update(module, images, LABELS, bn_mode="train", defense=defense, seed=0)
    halves = [
        client_update(module, x, y, bn_mode="train", defense=create_defense("none"), seed=0).sent
        for x, y in zip(images.chunk(2), LABELS.chunk(2), strict=True)
    ]
    for name, value in update.sent.items():
        torch.testing.assert_close(value, (halves[0][name] + halves[1][name]) / 2)
    assert not torch.allclose(update.sent["0.weight"], update.computed["0.weight"], rtol=1e-2)


def test_unequal_clients_are_refused(images: Tensor) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    defense = create_defense("secure_aggregation[clients=4]")
    with pytest.raises(ImpossibleCellError, match="equal parts of 6 images"):
        client_update(module, images, LABELS, bn_mode="eval", defense=defense, seed=0)
