"""The short federated training: shares of the classes, no defense against plain PyTorch, seeds, the cache."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gradinv.benchmark.datasets import create_dataset
from gradinv.benchmark.experiment import ImpossibleCellError
from gradinv.benchmark.utility import Federation, class_shares, federated, federated_accuracy, table, utility_row
from gradinv.benchmark.victims import LoadedVictim, VictimSpec, load_victim, normalise

SPEC = VictimSpec(model="lenet_dlg", state="untrained")
SHORT = Federation(clients=2, rounds=2, batch_size=4)


@pytest.fixture(scope="module")
def dataset():
    return create_dataset("photos", 16)


@pytest.fixture(scope="module")
def victim(dataset) -> LoadedVictim:
    return load_victim(SPEC, dataset)


def test_every_image_has_one_owner_and_small_alpha_is_unequal() -> None:
    labels = np.repeat(np.arange(8), 100)

    def spread(alpha: float) -> float:
        shares = class_shares(labels, Federation(clients=5, alpha=alpha), seed=0)
        assert sorted(np.concatenate(shares).tolist()) == list(range(800))
        counts = np.array([[np.sum(labels[places] == label) for label in range(8)] for places in shares])
        return float(counts.std(axis=0).mean())

    assert spread(0.1) > 2 * spread(100.0)
    alone = class_shares(np.zeros(7, dtype=int), Federation(clients=5, alpha=0.001), seed=0)
    assert min(map(len, alone)) >= 1


def test_one_client_undefended_is_adam_on_its_batches(dataset, victim: LoadedVictim, monkeypatch) -> None:
    federation, batches = Federation(clients=1, rounds=3, batch_size=4), []
    before = copy.deepcopy(victim.module.state_dict())
    original = federated._batch

    def noted(*arguments):
        batches.append(original(*arguments))
        return batches[-1]

    monkeypatch.setattr(federated, "_batch", noted)
    trained, _ = federated.federated_training("none", dataset, victim, federation, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in victim.module.state_dict().items())
    by_hand = copy.deepcopy(victim.module)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=federation.lr)
    for images, labels in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(by_hand(images), labels).backward()
        optimizer.step()
    assert len(batches) == 3
    for name, value in trained.named_parameters():
        torch.testing.assert_close(value, by_hand.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_accuracy_is_that_of_the_network_on_the_evaluation_images(dataset, victim: LoadedVictim) -> None:
    trained, _ = federated.federated_training("none", dataset, victim, SHORT, seed=0)
    accuracy, upload = federated_accuracy("none", dataset, victim, SHORT, seed=0)
    split = dataset.split("evaluation")
    images = normalise(split.images(list(range(len(split)))), victim.mean, victim.std)
    predicted = trained.eval()(images).argmax(1).numpy()
    assert accuracy == pytest.approx(float((predicted == np.asarray(split.labels)).mean()), abs=2 / len(split))
    assert upload == sum(4 * value.numel() for value in victim.module.parameters())


def test_equal_seeds_train_alike_and_a_useless_update_teaches_nothing(dataset, victim: LoadedVictim) -> None:
    federation = Federation(clients=2, rounds=40, batch_size=16)
    first, again = (federated_accuracy("none", dataset, victim, federation, 1)[0] for _ in range(2))
    assert first == again
    drowned, _ = federated_accuracy("gaussian_noise[sigma=1000]", dataset, victim, federation, 1)
    assert drowned < first - 0.1


def test_a_training_is_kept_and_a_row_says_what_it_rests_on(dataset, victim, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GRADINV_CACHE", str(tmp_path))
    key = "dp_sgd[max_norm=1.0,sigma=1.0]"
    row = utility_row(key, dataset, SPEC, victim, SHORT, range(2))
    assert row["n_seeds"] == 2
    assert row["accuracy_low"] <= row["accuracy_mean"] <= row["accuracy_high"]
    assert "2 clients, 2 rounds" in row["training"]
    assert "delta 1e-05" in row["guarantee"] or "pip install" in row["guarantee"]
    monkeypatch.setattr(table, "federated_accuracy", None)  # a second training would raise
    assert utility_row(key, dataset, SPEC, victim, SHORT, range(2)) == row


def test_what_is_impossible_has_its_reason(dataset, victim) -> None:
    impossible = Federation(clients=2, rounds=1, batch_size=1)
    with pytest.raises(ImpossibleCellError, match="mixes 2 images"):
        federated_accuracy("mixup", dataset, victim, impossible, 0)
    row = utility_row("mixup", dataset, SPEC, victim, impossible, range(2))
    assert "mixes 2 images" in row["notes"]
    assert "accuracy_mean" not in row
