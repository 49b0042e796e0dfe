"""Images of one channel through victims, attacks, scores and pictures, against the same in three equal channels."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

import gradinv
from gradinv.benchmark.datasets import DATASETS, ArraySplit, Dataset, create_dataset, register_dataset
from gradinv.benchmark.estimates import card_of, seconds_on
from gradinv.benchmark.victims import VictimError, VictimSpec, build_network, load_victim, normalisation_for
from gradinv.metrics.images import score_images
from gradinv.metrics.records import PictureFolder, Pictures

METRICS = ["psnr", "ssim", "gmsd", "fft2d", "structure", "psnr_registered"]


@pytest.fixture(scope="module")
def grey():
    """The photographs at 16 px, grey, of one channel: the data set `grey`."""
    colour = create_dataset("photos", 16)

    def split(role):
        pixels = colour.split(role).pixels(range(len(colour.split(role))))
        return ArraySplit(pixels.mean(3, keepdims=True).round().astype(np.uint8), colour.split(role).labels)

    loaders = {role: (lambda role=role: split(role)) for role in ("train", "tuning", "evaluation")}
    made = Dataset("grey", colour.classes, 16, loaders, channels=1)
    register_dataset("grey")(lambda image_size=None, *, download=False: made)
    yield made
    DATASETS._entries.pop("grey")


def test_a_victim_takes_them_normalised_by_one_number(grey):
    loaded = load_victim(VictimSpec(model="lenet_dlg", state="untrained"), grey)
    assert next(loaded.module.parameters()).shape[1] == 1
    assert (loaded.mean, loaded.std) == ((0.0,), (1.0,))
    assert normalisation_for(VictimSpec(model="resnet18", state="untrained"), grey)[0] == pytest.approx((0.449,))
    with pytest.raises(VictimError, match="are for colour images; grey has grey ones"):
        load_victim(VictimSpec(model="resnet18", state="pretrained"), grey)


def test_what_a_victim_of_one_channel_says_is_what_one_of_three_says_of_three_equal_ones(grey):
    images = grey.split("evaluation").images(range(3))
    one = build_network("lenet_dlg", num_classes=8, image_size=16, channels=1)
    three = build_network("lenet_dlg", num_classes=8, image_size=16)
    weights = one.state_dict()
    first = next(iter(weights))
    three.load_state_dict(weights | {first: weights[first].expand(-1, 3, -1, -1) / 3})
    torch.testing.assert_close(one(images), three(images.expand(-1, 3, -1, -1)))


def test_an_attack_recovers_them_and_its_control_does_not(grey):
    done = gradinv.trial("idlg", model="lenet_dlg", dataset="grey", budget=150, metrics=["psnr"])
    control = gradinv.trial(
        "idlg", control="other_gradient", model="lenet_dlg", dataset="grey", budget=150, metrics=["psnr"]
    )
    assert done.reconstructions.shape == (1, 1, 16, 16)
    assert done.scores["psnr"].iloc[0] > 40
    assert control.scores["psnr"].iloc[0] < 25
    assert done._repr_html_().count("data:image/png") == 2


def test_an_exact_attack_solves_for_them(grey):
    done = gradinv.trial("ratio", model="mlp1000", dataset="grey", budget=1, metrics=["psnr"])
    assert done.scores["psnr"].iloc[0] > 100


def test_every_metric_says_of_them_what_it_says_of_three_equal_channels(grey):
    split = grey.split("evaluation")
    originals = interpolate(split.images(range(4)), scale_factor=2)  # registration asks for 32 px
    noisy = (originals + 0.1 * torch.randn(originals.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    one = score_images(noisy, originals, METRICS).values
    three = score_images(noisy.expand(-1, 3, -1, -1), originals.expand(-1, 3, -1, -1), METRICS).values
    for metric in METRICS:
        torch.testing.assert_close(one[metric], three[metric], atol=1e-4, rtol=1e-4)


def test_their_pictures_are_shown_in_three_equal_channels(grey, tmp_path):
    run = gradinv.run(
        {"name": "grey", "dataset": "grey", "image_size": 16, "victims": [{"model": "lenet_dlg", "state": "untrained"}],
         "attacks": ["idlg"], "controls": ["mean_image"], "batches": 1, "budget": 3, "metrics": ["psnr"]},
        out=tmp_path / "run",
    )  # fmt: skip
    pictures, record = Pictures([tmp_path / "run"]), run.records[0]
    shown = pictures.get(record, "original", 0)
    assert shown.shape == (3, 16, 16)
    assert (shown == shown[0]).all()
    name = PictureFolder(pictures, tmp_path / "pictures").picture(record, "original", 0)
    assert Image.open(tmp_path / "pictures" / name).mode == "RGB"


def test_their_time_on_a_card_is_reckoned(grey, make_plan):
    plan = make_plan(dataset="grey", attacks=["idlg"], budget=10, batches=1)
    assert all(seconds > 0 for seconds in seconds_on(card_of("H100"), plan, plan.trials))
