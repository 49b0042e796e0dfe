"""LPIPS written out from torchvision's backbones and the authors' heads; what happens without weights."""

import hashlib
from pathlib import Path
from types import SimpleNamespace

import lpips
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import alexnet, vgg16

from gradinv.metrics.images import lpips as perceptual
from gradinv.metrics.images.lpips import lpips_alex, lpips_vgg
from gradinv.metrics.images.scoring import MetricUnavailable, score_images

# Where torchvision's `features` are read: after these rectifiers.
TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
BACKBONES = {"alex": alexnet, "vgg": vgg16}
FILES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
METRIC = {"alex": lpips_alex, "vgg": lpips_vgg}


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.delenv("GRADINV_WEIGHTS", raising=False)
    monkeypatch.delenv("GRADINV_DOWNLOAD", raising=False)


@pytest.fixture(scope="module", params=["alex", "vgg"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    """A backbone of random weights, and the folder that holds them under torchvision's file name."""
    torch.manual_seed(0)
    network = BACKBONES[request.param](weights=None)
    folder = tmp_path_factory.mktemp(request.param)
    convolutions = {name: value for name, value in network.state_dict().items() if name.startswith("features")}
    torch.save(convolutions, folder / FILES[request.param])
    return request.param, network.features.eval(), folder


def images(batch: int, size: int = 32, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(2, batch, channels, size, size, generator=generator))


def heads(name: str) -> list[Tensor]:
    file = Path(lpips.__file__).parent / "weights" / "v0.1" / f"{name}.pth"
    state = torch.load(file, map_location="cpu", weights_only=True)
    return [state[f"lin{layer}.model.1.weight"] for layer in range(5)]


@torch.no_grad()
def written_out(name: str, features: nn.Module, ours: Tensor, theirs: Tensor) -> Tensor:
    """Zhang et al. 2018, Eq. 1, with the input scaling of the authors' code."""
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    ours, theirs = (((2 * x - 1) - shift) / scale for x in (ours, theirs))
    total = torch.zeros(len(ours))
    weights = iter(heads(name))
    for index, layer in enumerate(features[: TAPS[name][-1] + 1]):
        ours, theirs = layer(ours.clone()), layer(theirs.clone())
        if index in TAPS[name]:
            unit = [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (ours, theirs)]
            total += ((unit[0] - unit[1]).square() * next(weights)).sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize(("channels", "cut"), [(1, 0), (3, 0), (3, 9)])
def test_value_is_the_one_written_out(backbone, channels: int, cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name, features, folder = backbone
    monkeypatch.setenv("GRADINV_WEIGHTS", str(folder))
    ours, theirs = (pictures[..., cut:] for pictures in images(1, size=32 + cut, channels=channels))
    got = METRIC[name](ours, theirs)
    assert got.shape == (1,)
    assert got.item() > 0
    assert not got.requires_grad
    torch.testing.assert_close(
        got, written_out(name, features, *(pictures.expand(-1, 3, -1, -1) for pictures in (ours, theirs)))
    )
    assert METRIC[name](ours, ours).item() == 0.0


def test_a_batch_above_the_chunk_is_scored_image_by_image(backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, folder = backbone
    monkeypatch.setenv("GRADINV_WEIGHTS", str(folder))
    monkeypatch.setattr(perceptual, "_CHUNK", 2)
    ours, theirs = images(3)
    alone = torch.cat([METRIC[name](ours[i : i + 1], theirs[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(METRIC[name](ours, theirs), alone)


def test_smallest_size_is_what_the_backbone_can_take(backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, folder = backbone
    monkeypatch.setenv("GRADINV_WEIGHTS", str(folder))
    smallest = {"alex": 31, "vgg": 16}[name]
    assert METRIC[name](*images(1, size=smallest)).isfinite().all()
    with pytest.raises(RuntimeError, match="too small"):
        METRIC[name](*images(1, size=smallest - 1))
    assert score_images(*images(1, size=smallest - 1), [f"lpips_{name}"]).notes == (
        f"lpips_{name}: defined from {smallest} px, the images have {smallest - 1}",
    )


def test_building_the_network_leaves_the_random_state_alone(backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, folder = backbone
    monkeypatch.setenv("GRADINV_WEIGHTS", str(folder))
    perceptual._network.cache_clear()
    before = torch.get_rng_state()
    METRIC[name](*images(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_in_the_torch_hub_folder_are_found(backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, folder = backbone
    hub = tmp_path / "home" / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / FILES[name]).symlink_to(folder / FILES[name])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GRADINV_WEIGHTS", str(tmp_path))
    assert METRIC[name](*images(1)).item() > 0


def test_a_file_of_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / FILES["alex"])
    monkeypatch.setenv("GRADINV_WEIGHTS", str(tmp_path))
    with pytest.raises(MetricUnavailable, match=r"no fitting features\.0\.bias"):
        lpips_alex(*images(1))


def test_without_weights_the_column_is_empty_and_a_note_says_how_to_fill_it() -> None:
    with pytest.raises(MetricUnavailable, match=r"alexnet-owt-7be5be79\.pth is missing; put it into .*--download"):
        lpips_alex(*images(1))
    scores = score_images(*images(2), ["lpips_alex", "psnr"])
    assert list(scores.values) == ["psnr"]
    assert len(scores.notes) == 1
    assert scores.notes[0].startswith("lpips_alex: alexnet-owt-7be5be79.pth is missing")


def test_allowed_to_download_it_fetches_and_checks_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"weights"
    good = tmp_path / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    bad = tmp_path / "net-00000000.pth"
    for source in (good, bad):
        source.write_bytes(content)
    monkeypatch.setenv("GRADINV_DOWNLOAD", "1")
    monkeypatch.setitem(perceptual._BACKBONES, "alex", SimpleNamespace(url=good.as_uri()))
    fetched = perceptual._weight_file("alex")
    assert fetched.parent == tmp_path / "empty" / "hub" / "checkpoints"
    assert fetched.read_bytes() == content
    monkeypatch.setitem(perceptual._BACKBONES, "alex", SimpleNamespace(url=bad.as_uri()))
    with pytest.raises(MetricUnavailable, match="invalid hash"):
        perceptual._weight_file("alex")
    assert not (fetched.parent / bad.name).exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no weights"),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save({"features.0.weight": 1}, path),
        lambda path: torch.save({"features.0.weight": Path()}, path),
        lambda path: torch.save({"features.0.weight": torch.ones(2)}, path),
    ],
)
def test_a_broken_weight_file_leaves_the_column_empty_with_a_reason(tmp_path, monkeypatch, write):
    monkeypatch.setenv("GRADINV_WEIGHTS", str(tmp_path))
    write(tmp_path / FILES["alex"])
    scores = score_images(*images(1), ["psnr", "lpips_alex"])
    assert list(scores.values) == ["psnr"]
    assert scores.notes[0].startswith(f"lpips_alex: {tmp_path / FILES['alex']} ")
    assert scores.notes[0].endswith("put torchvision's file there")
    assert "weights_only" not in scores.notes[0]
