"""Who judges, and among which photographs: rivals, judges in words, and features that are made once."""

import os

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from gradinv.benchmark.datasets import ArraySplit, Dataset, create_dataset, draw_batch
from gradinv.benchmark.experiment import identity
from gradinv.benchmark.experiment.identity import (
    JUDGES,
    POOL_SIZE,
    Identity,
    JudgeError,
    NetworkJudge,
    default_judge,
    described,
    network_ranks,
    places_of,
    pool_of,
    rivals_of,
)
from gradinv.benchmark.victims import LoadedVictim
from gradinv.metrics.images import ScoredBatch, identity_name
from gradinv.metrics.images.identity import identity_lowpass


@pytest.fixture(scope="module")
def photos() -> Dataset:
    return create_dataset("photos", 16)


@pytest.fixture
def network() -> NetworkJudge:
    torch.manual_seed(0)
    module = timm.create_model("test_resnet", num_classes=4).eval().requires_grad_(False)
    return NetworkJudge("test_resnet", "untrained", module, (0.5,) * 3, (0.25,) * 3, "judge")


def test_the_pool_holds_a_thousand_held_out_photographs_evaluation_first(photos):
    places = places_of(photos)
    assert (len(places), len(set(places))) == (POOL_SIZE, POOL_SIZE)
    assert [place.role for place in places] == ["evaluation"] * 512 + ["tuning"] * 488
    assert {place.number for place in places[:512]} == set(range(512))
    assert [place.number for place in places[:512]] != list(range(512)), "in no order of classes"
    again = places_of.__wrapped__(create_dataset("photos", 16))
    assert again == places


def test_its_images_are_those_of_their_places(photos):
    pool = pool_of(photos)
    assert (pool.size, pool.name) == (POOL_SIZE, "1000 held-out images of photos, 16 px")
    places = places_of(photos)
    for index in (0, 511, 512, 999):
        expected = photos.split(places[index].role).images([places[index].number])
        assert torch.equal(pool.images([index]), expected)


def test_a_small_data_set_is_a_small_pool(make_dataset):
    dataset = make_dataset(held_out=6)
    pool = pool_of(dataset)
    assert (pool.size, pool.name) == (24, "24 held-out images of tiny, 16 px")
    rivals = rivals_of(dataset, draw_batch(dataset, repetition=0, batch_size=4))
    assert rivals.sum(1).tolist() == [23] * 4


def test_an_original_is_no_rival_of_its_own_and_the_others_of_the_batch_are(photos):
    batch = draw_batch(photos, repetition=1, batch_size=4)
    rivals, places = rivals_of(photos, batch), places_of(photos)
    position = {place.number: index for index, place in enumerate(places) if place.role == "evaluation"}
    own = [position[index] for index in batch.indices]
    assert rivals.shape == (4, POOL_SIZE)
    for slot in range(4):
        assert not rivals[slot, own[slot]]
        assert all(rivals[slot, own[other]] for other in range(4) if other != slot), "of other classes, so no overlap"


def test_overlapping_patches_are_no_rivals(photos):
    batch, split = draw_batch(photos, repetition=0, batch_size=4), photos.split("evaluation")
    rivals = rivals_of(photos, batch)
    for slot, index in enumerate(batch.indices):
        for place, allowed in zip(places_of(photos), rivals[slot].tolist(), strict=True):
            other = split.cuts[place.number] if place.role == "evaluation" else None
            assert allowed == (other is None or shared_area(split.cuts[index], other, 16) <= 0.25)
    assert (rivals.sum(1) < POOL_SIZE - 1).any(), "there are some"


def shared_area(first, second, size):
    """Share of a patch that two patches have in common, pixel by pixel."""
    if first.photograph != second.photograph:
        return 0.0
    rows, columns = (
        len(
            {*range(getattr(first, side), getattr(first, side) + size)}
            & {*range(getattr(second, side), getattr(second, side) + size)}
        )
        for side in ("top", "left")
    )
    return rows * columns / size**2


def dataset_of(evaluation: np.ndarray, tuning: np.ndarray, size: int = 8) -> Dataset:
    splits = {
        role: ArraySplit(images, np.arange(len(images)))
        for role, images in (("evaluation", evaluation), ("tuning", tuning))
    }
    return Dataset(
        "made", [str(i) for i in range(len(evaluation))], size, {role: lambda s=s: s for role, s in splits.items()}
    )


def images_of(count: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (count, 8, 8, 3)).astype(np.uint8)


def test_equal_pictures_are_no_rivals_wherever_they_stand():
    evaluation, tuning = images_of(6, 0), images_of(5, 1)
    tuning[2] = evaluation[3]
    evaluation[1] = evaluation[3]
    dataset = dataset_of(evaluation, tuning)
    batch = draw_batch(dataset, repetition=0, batch_size=6)
    rivals, pictures = rivals_of(dataset, batch), pool_of(dataset).images(range(11))
    for slot, original in enumerate(batch.images):
        equal = [torch.equal(original, picture) for picture in pictures]
        assert sum(equal) == (3 if batch.indices[slot] in (1, 3) else 1)
        assert rivals[slot].tolist() == [not same for same in equal]


def test_nobody_has_more_rivals_than_the_pool_has_places():
    """An original that is not among the thousand has no more rivals than the others."""
    dataset = dataset_of(images_of(1_005, 0), images_of(3, 1))
    inside = {place.number for place in places_of(dataset)}
    assert len(inside) == POOL_SIZE
    batches = [draw_batch(dataset, repetition=repetition, batch_size=64) for repetition in range(6)]
    outside = [index for batch in batches for index in batch.indices if index not in inside]
    assert outside
    for batch in batches:
        assert rivals_of(dataset, batch).sum(1).tolist() == [POOL_SIZE - 1] * 64


def test_small_images_have_no_network(photos, monkeypatch):
    monkeypatch.setattr(identity, "packaged_source", lambda model: pytest.fail("nobody looks"))
    assert default_judge(create_dataset("photos", 63), "resnet18") is None
    judged = Identity.of(photos, draw_batch(photos, repetition=0, batch_size=2), "resnet18", None)
    assert judged.network is None
    assert judged.judges == {"identity_lowpass": "correlation of low-passed pictures, no weights"}


@pytest.fixture
def packaged(monkeypatch):
    """`packaged(*models)`: these have packaged weights here; no file is read."""

    def load(model, image_size):
        module = timm.create_model("test_resnet", num_classes=4)
        return LoadedVictim(
            module=module,
            state="pretrained",
            weights_hash=f"weights of {model}",
            accuracy=None,
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            source=f"package of {model}",
        )

    def make(*models):
        identity._packaged_judge.cache_clear()
        monkeypatch.setattr(identity, "packaged_source", lambda model: "here" if model in models else "")
        monkeypatch.setattr(identity, "packaged_network", load)

    yield make
    identity._packaged_judge.cache_clear()


@pytest.mark.parametrize(
    ("here", "victim", "judge"),
    [
        (JUDGES, "resnet18", "tf_efficientnet_lite2"),
        (JUDGES, "tf_efficientnet_lite0", "tf_efficientnet_lite2"),
        (JUDGES, "tf_efficientnet_lite2", "tf_efficientnet_lite0"),
        (JUDGES[1:], "resnet18", "tf_efficientnet_lite0"),
        (JUDGES[1:], "tf_efficientnet_lite0", None),
        (JUDGES[:1], "tf_efficientnet_lite2", None),
        ((), "resnet18", None),
    ],
)
def test_the_judge_is_never_of_the_victims_architecture(packaged, here, victim, judge):
    packaged(*here)
    chosen = default_judge(create_dataset("photos", 64), victim)
    assert (None if chosen is None else chosen.name) == judge


def test_nor_of_its_weights_under_another_name(packaged):
    packaged(*JUDGES)
    dataset = create_dataset("photos", 64)
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    assert Identity.of(dataset, batch, "mine", "weights of tf_efficientnet_lite2").network is None
    judged = Identity.of(dataset, batch, "mine", "others")
    assert judged.network.name == "tf_efficientnet_lite2"
    assert judged.judges == {
        "identity_lowpass": "correlation of low-passed pictures, no weights",
        "identity_tf_efficientnet_lite2": "package of tf_efficientnet_lite2",
    }
    relative = Identity.of(dataset, batch, "tf_efficientnet_lite1", "others")
    assert relative.judges["identity_tf_efficientnet_lite2"].endswith("; a relative of the victim")


def test_a_judge_says_whether_it_is_a_relative(network):
    assert described(network, "test_vit") == "untrained"
    assert described(network, "resnet18") == "untrained; a relative of the victim"
    assert network.metric == identity_name("test_resnet")
    lite = NetworkJudge("tf_efficientnet_lite2", "PyPI", network.module, (), (), "")
    assert described(lite, "tf_efficientnet_b0") == "PyPI; a relative of the victim"
    assert described(lite, "efficientformer_l1") == "PyPI"


def exact(photos, repetition=0):
    batch = draw_batch(photos, repetition=repetition, batch_size=4)
    return Identity.of(photos, batch, "resnet18", None), ScoredBatch(batch.images, batch.images)


def test_ranks_of_a_network_are_those_of_a_loop_over_cosines(photos, network):
    judged, scored = exact(photos)
    judged = judged.by(network)
    noisy = scored.originals + 0.2 * torch.randn(scored.originals.shape, generator=torch.Generator().manual_seed(0))
    scored = judged.with_pool(ScoredBatch(noisy.clamp(0, 1), scored.originals))
    got = judged.network_ranks(scored)
    assert set(got) == {"identity_test_resnet"}

    def seen(images):
        return network.module.forward_head(network.module.forward_features((images - 0.5) / 0.25), pre_logits=True)

    pool = seen(judged.pool.images(range(POOL_SIZE)))
    for slot, rank in enumerate(got["identity_test_resnet"].tolist()):
        picture, original = seen(scored.reconstructions[slot : slot + 1]), seen(scored.originals[slot : slot + 1])
        own = torch.cosine_similarity(picture, original).item()
        others = torch.cosine_similarity(picture, pool)[judged.rivals[slot]]
        assert rank == pytest.approx((others > own).float().mean().item(), abs=2 / POOL_SIZE)


def test_features_of_the_pool_come_from_the_cache_the_second_time(photos, network, tmp_path, monkeypatch):
    judged, scored = exact(photos)
    scored = judged.with_pool(scored)
    seen = []
    features = NetworkJudge.features

    def counted(judge, images):
        seen.append(len(images))
        return features(judge, images)

    monkeypatch.setattr(NetworkJudge, "features", counted)
    pool_of.cache_clear()
    first = network_ranks(network, judged.with_pool(scored), photos)
    assert sum(seen) == POOL_SIZE + 8
    (file,) = (tmp_path / "cache" / "features").iterdir()
    assert load_file(file)["features"].shape[0] == POOL_SIZE
    pool_of.cache_clear()  # another process
    seen.clear()
    assert torch.equal(network_ranks(network, judged.with_pool(scored), photos), first)
    assert seen == [4, 4]
    # And in this one from memory: the file is not read again.
    file.unlink()
    network_ranks(network, judged.with_pool(scored), photos)
    assert seen == [4] * 4


def test_other_weights_or_another_normalisation_have_their_own_cache(photos, network, tmp_path):
    judged, scored = exact(photos)
    others = [
        NetworkJudge("test_resnet", "", network.module, network.mean, network.std, "other weights"),
        NetworkJudge("test_resnet", "", network.module, (0.4,) * 3, network.std, "judge"),
    ]
    for judge in (network, *others):
        pool_of.cache_clear()
        network_ranks(judge, judged.with_pool(scored), photos)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 3


def test_two_judges_of_one_name_and_other_weights_do_not_share_features_in_memory(photos, network):
    judged, scored = exact(photos)
    torch.manual_seed(1)
    other = timm.create_model("test_resnet", num_classes=4).eval().requires_grad_(False)
    twin = NetworkJudge("test_resnet", "", other, network.mean, network.std, "twin")
    noisy = ScoredBatch((scored.originals + 0.3).clamp(0, 1), scored.originals)
    pool_of.cache_clear()
    network_ranks(network, judged.with_pool(noisy), photos)
    second = network_ranks(twin, judged.with_pool(noisy), photos)
    pool_of.cache_clear()
    assert torch.equal(network_ranks(twin, judged.with_pool(noisy), photos), second)


def test_a_network_without_one_classifier_cannot_judge(network):
    network.module.get_classifier = lambda: (None, None)
    with pytest.raises(JudgeError, match="has not one classifier, so that it cannot judge; take a ResNet"):
        network.features(torch.rand(1, 3, 16, 16))


def test_snapshots_are_ranked_like_pictures(photos):
    judged, scored = exact(photos)
    noise = torch.randn(scored.originals.shape, generator=torch.Generator().manual_seed(0))
    snapshots = torch.stack([(scored.originals + strength * noise).clamp(0, 1) for strength in (3.0, 0.8, 0.0)])
    means = judged.lowpass(snapshots, scored)
    alone = [
        identity_lowpass(judged.with_pool(ScoredBatch(snapshot, scored.originals))).mean().item()
        for snapshot in snapshots
    ]
    assert means == pytest.approx(alone)
    assert means[2] == 0.0 < means[0]


def test_a_rank_is_one_of_the_pools_size(photos):
    judged, _ = exact(photos)
    assert judged.details() == {"identity_pool": [float(count) + 1 for count in judged.rivals.sum(1).tolist()]}
    assert max(judged.details()["identity_pool"]) <= POOL_SIZE


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no tensors"),
        lambda path: path.mkdir(),
        os.mkfifo,
        lambda path: save_file({"others": torch.ones(3, 2)}, path),
        lambda path: save_file({"features": torch.ones(4, 2)}, path),
        lambda path: save_file({"features": torch.ones(3)}, path),
        lambda path: None,
    ],
)
def test_a_broken_file_of_features_counts_as_none(tmp_path, write):
    write(tmp_path / "a.safetensors")
    assert identity._kept_features(tmp_path / "a.safetensors", 3) is None


def test_features_come_back_from_the_cache(tmp_path):
    save_file({"features": torch.ones(3, 2)}, tmp_path / "a.safetensors")
    assert torch.equal(identity._kept_features(tmp_path / "a.safetensors", 3), torch.ones(3, 2))
