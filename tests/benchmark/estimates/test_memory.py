"""The memory of an evaluation is known before the run, and said where there is too little."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gradinv.benchmark.estimates import memory
from gradinv.benchmark.estimates.memory import GIB, available_bytes, evaluation_bytes, memory_warning, peak_bytes
from gradinv.benchmark.victims.networks import build_network

FLOAT = 4


def real_evaluation_bytes(monkeypatch, *args, **options):
    with monkeypatch.context() as patched:
        patched.setattr(memory, "_on_meta", lambda module: module)
        return evaluation_bytes(*args, **options)


class TestPeakBytes:
    def test_a_linear_layer_takes_its_output(self):
        layer, inputs = nn.Linear(7, 5), torch.zeros(3, 7)
        assert peak_bytes(lambda: layer(inputs)) == FLOAT * 3 * 5

    def test_the_backward_pass_of_a_linear_layer(self):
        layer, inputs = nn.Linear(7, 5, bias=False), torch.zeros(3, 7)
        scale = torch.zeros(3, 5)
        # The output, the gradient of it that is handed in, which was there before, and the gradient of the weight.
        assert peak_bytes(lambda: layer(inputs).backward(scale)) == FLOAT * (3 * 5 + 5 * 7)

    def test_what_is_freed_is_subtracted(self):
        def loop():
            for _ in range(5):
                torch.zeros(1000)

        assert peak_bytes(loop) == FLOAT * 1000

    def test_what_is_kept_adds_up(self):
        assert peak_bytes(lambda: [torch.zeros(1000) for _ in range(5)]) == FLOAT * 5000

    def test_what_the_graph_saves_is_kept(self):
        start = torch.zeros(1000, requires_grad=True)

        def chain():
            value = start
            for _ in range(5):
                value = value.sigmoid()
            return value

        assert peak_bytes(chain) == FLOAT * 5000
        with torch.no_grad():
            assert peak_bytes(chain) == FLOAT * 2000

    def test_views_and_changes_in_place_take_nothing(self):
        before = torch.zeros(10, 100)
        assert peak_bytes(lambda: before.view(-1)[5:].add_(1)) == 0
        assert peak_bytes(lambda: torch.zeros(10, 100).t()[3:].mul_(2)[:3]) == FLOAT * 1000

    @pytest.mark.parametrize("kind", ["meta", "fake"])
    def test_tensors_without_memory_count_like_real_ones(self, kind):
        def step(device):
            inputs = torch.zeros(4, 3, 16, 16, device=device, requires_grad=True)
            weight = torch.zeros(8, 3, 3, 3, device=device, requires_grad=True)
            loss = nn.functional.conv2d(inputs, weight).sigmoid().square().mean()
            (gradient,) = torch.autograd.grad(loss, [weight], create_graph=True)
            torch.autograd.grad(gradient.square().sum(), [inputs])

        real = peak_bytes(lambda: step("cpu"))
        if kind == "meta":
            assert peak_bytes(lambda: step("meta")) == real
        else:
            with FakeTensorMode():
                assert peak_bytes(lambda: step("cpu")) == pytest.approx(real, rel=0.01)


class TestEvaluationBytes:
    @pytest.mark.parametrize(
        ("model", "size", "batch_size", "bn_mode", "together"),
        [
            ("lenet_dlg", 32, 4, "eval", 1),
            ("lenet_dlg", 32, 4, "eval", 3),
            ("test_resnet", 32, 3, "eval", 1),
            ("test_resnet", 32, 3, "train", 1),
            ("test_resnet", 32, 3, "eval", 2),
            ("convnext_atto", 64, 2, "eval", 1),
            ("vit_small_patch16_224", 32, 2, "eval", 1),
        ],
    )
    def test_agrees_with_a_real_evaluation(self, monkeypatch, model, size, batch_size, bn_mode, together):
        module = build_network(model, num_classes=10, image_size=size, untrained=True)
        options = {"bn_mode": bn_mode, "needs_bn_statistics": True, "together": together}
        estimate = evaluation_bytes(module, batch_size, size, 10, **options)
        assert estimate == pytest.approx(
            real_evaluation_bytes(monkeypatch, module, batch_size, size, 10, **options), rel=0.05
        )

    def test_grows_by_the_same_with_every_image(self):
        module = build_network("resnet18", num_classes=10, image_size=64, untrained=True)
        some, twice, fourfold = (evaluation_bytes(module, batch_size, 64, 10) for batch_size in (64, 128, 256))
        assert fourfold - twice == pytest.approx(2 * (twice - some), rel=0.05)

    def test_has_the_network_and_the_observed_gradients(self):
        layer = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 2, 1000))
        parameters = FLOAT * (12 + 1) * 1000
        # At once: the network, the observed gradients, the candidate's, their difference, and its gradient on the way.
        assert 5 * parameters < evaluation_bytes(layer, 1, 2, 1000) < 7 * parameters

    def test_statistics_of_the_batch_take_memory(self):
        module = build_network("test_resnet", num_classes=10, image_size=32, untrained=True)
        without = evaluation_bytes(module, 32, 32, 10)
        assert evaluation_bytes(module, 32, 32, 10, bn_mode="train") > without
        assert evaluation_bytes(module, 32, 32, 10, needs_bn_statistics=True) >= without

    def test_leaves_the_network_and_the_random_state_alone(self):
        module = build_network("test_resnet", num_classes=10, image_size=32, untrained=True).train()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        state = torch.get_rng_state()
        evaluation_bytes(module, 2, 32, 10, bn_mode="train", needs_bn_statistics=True)
        assert module.training
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert torch.equal(torch.get_rng_state(), state)

    def test_says_where_shapes_depend_on_values(self):
        class Picking(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(3, 2)

            def forward(self, x):
                return self.fc(x.flatten(2).mean(2))[: int(x.sum().item())]

        with pytest.raises(RuntimeError):
            evaluation_bytes(Picking(), 1, 4, 2)

    @pytest.mark.cuda
    @pytest.mark.parametrize("bn_mode", ["eval", "train"])
    def test_agrees_with_the_allocator_of_a_gpu(self, bn_mode):
        module = build_network("resnet18", num_classes=1000, image_size=224, untrained=True).cuda()
        estimate = evaluation_bytes(module, 32, 224, 1000, bn_mode=bn_mode)
        victim = memory.Victim(module, bn_mode=bn_mode)
        observed = [torch.zeros_like(parameter) for parameter in victim.parameters]
        labels = torch.full((32, 1000), 1e-3, device="cuda")
        for batch_size in (2, 32):  # the first one has cuBLAS and cuDNN take what they keep
            images = torch.zeros(batch_size, 3, 224, 224, device="cuda")
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            memory._evaluate(victim, images, labels[:batch_size], observed, {})
            torch.cuda.synchronize()
            evaluation = torch.cuda.max_memory_allocated() - before
        network = memory._bytes([*victim.module.parameters(), *victim.module.buffers(), *observed])
        assert estimate == pytest.approx(network + memory.IMAGE_COPIES * memory._bytes([images]) + evaluation, rel=0.25)


class TestMemoryWarning:
    def test_says_how_much_and_what_to_do(self):
        warning = memory_warning(20 * GIB, 16 * GIB)
        assert "\n" not in warning
        for part in ("20.0 GiB", "16.0 GiB", "batch", "image size", "`together`"):
            assert part in warning

    def test_leaves_a_tenth(self):
        assert memory_warning(91, 100) is not None
        assert memory_warning(90, 100) is None

    def test_says_nothing_where_nothing_is_known(self):
        assert memory_warning(GIB, None) is None


class TestAvailableBytes:
    def test_of_a_device_that_cannot_tell(self):
        assert available_bytes("mps") is None

    def test_of_this_machine_is_none_or_some(self):
        free = available_bytes("cpu")
        assert free is None or free > 0

    def test_the_machine_tells_in_kib(self, tmp_path):
        (tmp_path / "meminfo").write_text("MemTotal:  4000 kB\nMemAvailable:  3000 kB\n")
        assert memory._machine_room(tmp_path / "meminfo") == 3000 * 1024
        assert memory._machine_room(tmp_path / "none") is None

    def test_the_tightest_group_limits(self, tmp_path):
        inner = tmp_path / "job" / "step"
        inner.mkdir(parents=True)
        for folder, limit, current in ((inner, "max", 300), (inner.parent, "1000", 700), (tmp_path, "9000", 800)):
            (folder / "memory.max").write_text(f"{limit}\n")
            (folder / "memory.current").write_text(f"{current}\n")
        assert memory._cgroup_room(inner) == 300
        (inner.parent / "memory.stat").write_text("anon 600\ninactive_file 100\n")
        assert memory._cgroup_room(inner) == 400

    def test_no_group_no_limit(self, tmp_path):
        assert memory._cgroup_room(tmp_path) is None

    def test_the_lesser_counts(self, monkeypatch):
        monkeypatch.setattr(memory, "_machine_room", lambda _: 500)
        for room, least in ((300, 300), (700, 500), (None, 500)):
            monkeypatch.setattr(memory, "_cgroup_room", lambda _, room=room: room)
            assert available_bytes("cpu") == least
