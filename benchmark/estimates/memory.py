"""How much memory an attack will take, known before the run without allocating it, and how much there is."""

import copy
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradinv.attacks.victim import Victim
from gradinv.metrics.image_size import ImageSize, sides

GIB = 2**30
USABLE = 0.9
"""The share of the free memory that tensors can have; allocator gaps and kernels' workspaces have the rest."""
IMAGE_COPIES = 4
"""What outlives an evaluation, in batches of images: the iterate, the best one so far and the two moments of Adam."""
CGROUPS = Path("/sys/fs/cgroup")

Recorded = dict[int, tuple[Tensor, Tensor]]


class _StorageCounter(TorchDispatchMode):
    """Follows every storage that an operation returns until it is freed, whoever holds it, the autograd graph included.

    PyTorch keeps the Python object of a storage for as long as the storage lives, so a weak reference to it tells when
    the memory is freed and its id stands for the storage. A storage that is an argument before it is a result was there
    before; it is known with no bytes, so that its views and in-place changes count for nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation as it is, and see its arguments and then its results."""
        self._see((args, kwargs), created=False)
        result = func(*args, **(kwargs or {}))
        self._see(result, created=True)
        return result

    def _see(self, tree: Any, *, created: bool) -> None:
        for leaf in tree_leaves(tree):
            if isinstance(leaf, Tensor) and leaf.layout == torch.strided:
                storage = leaf.untyped_storage()
                if id(storage) not in self._known:
                    self._follow(storage, storage.nbytes() if created else 0)
        self.peak = max(self.peak, self.alive)

    def _follow(self, storage: torch.UntypedStorage, size: int) -> None:
        key = id(storage)

        # Called when the last holder lets go, the autograd graph included: no list of tensors would see that.
        def freed(_: weakref.ref[torch.UntypedStorage]) -> None:
            del self._known[key]
            self.alive -= size

        self._known[key] = weakref.ref(storage, freed)
        self.alive += size


def peak_bytes(step: Callable[[], object]) -> int:
    """The most bytes of tensors that were created while `step` ran and were alive at once, on all devices together.

    Works for tensors of any device, "meta" included, whose sizes are those of real ones. What a kernel allocates and
    frees within one operation is not seen.

    >>> peak_bytes(lambda: [torch.zeros(1000).sum() for _ in range(5)])  # one at a time, and the five sums
    4020
    """
    with _StorageCounter() as counter:
        step()
    return counter.peak


class MetaEvaluation:
    """One evaluation of an attack's objective with its gradient, on tensors that have shapes and no memory.

    `module` is left alone. `update` is the key of what is simulated. `needs_bn_statistics`: the objective has the mean
    and variance of every batch-norm input. `together` candidates are evaluated in one vectorised call, each with a
    batch and observed gradients of its own. Half precision is not reckoned with. `run` raises what the network's
    forward pass raises for such a batch, and RuntimeError where the shape of a result depends on values.
    """

    def __init__(
        self,
        module: nn.Module,
        batch_size: int,
        image_size: ImageSize,
        num_classes: int,
        *,
        bn_mode: str = "eval",
        update: str = "gradient",
        needs_bn_statistics: bool = False,
        together: int = 1,
        channels: int = 3,
    ) -> None:
        self.victim = Victim(_on_meta(module), bn_mode=bn_mode, update=update)
        self.needs_bn_statistics, self.together = needs_bn_statistics, together
        like = self.victim.parameters[0]
        self.images = like.new_empty(together, batch_size, channels, *sides(image_size))
        self.labels = like.new_empty(together, batch_size, num_classes)  # probabilities: the larger kind of labels
        self.observed = [value.new_empty(together, *value.shape) for value in self.victim.parameters]

    def run(self) -> Any:
        """Evaluate once."""
        with self.victim.recording_bn_statistics(self.needs_bn_statistics) as recorded:
            if self.together > 1:
                return _evaluate_together(self.victim, self.images, self.labels, self.observed, recorded)
            observed = [target[0] for target in self.observed]
            return _evaluate(self.victim, self.images[0], self.labels[0], observed, recorded)

    @property
    def lasting_bytes(self) -> int:
        """The bytes of the network, the leak and the iterates, which outlive an evaluation."""
        module = self.victim.module
        return _bytes([*module.parameters(), *module.buffers(), *self.observed, *[self.images] * IMAGE_COPIES])


def evaluation_bytes(
    module: nn.Module, batch_size: int, image_size: ImageSize, num_classes: int, **options: Any
) -> int:
    """The bytes that one evaluation takes: the network, the leak and the two backward passes.

    Nothing of that size is allocated. `options` are those of `MetaEvaluation`, as is what it raises.

    >>> evaluation_bytes(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), batch_size=2, image_size=2, num_classes=5)
    2012
    """
    evaluation = MetaEvaluation(module, batch_size, image_size, num_classes, **options)
    return evaluation.lasting_bytes + peak_bytes(evaluation.run)


def available_bytes(device: str) -> int | None:
    """The free memory of a device in bytes, or None where it cannot be told.

    A GPU's is what the driver calls free. On the CPU of a Linux machine it is what programs can have without swapping,
    or what is left below the limit of the process's cgroup (version 2), whichever is less.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.mem_get_info(device)[0] if torch.cuda.is_available() else None
    if kind != "cpu":
        return None
    rooms = [room for room in (_machine_room(Path("/proc/meminfo")), _cgroup_room(_own_cgroup())) if room is not None]
    return min(rooms, default=None)


def memory_warning(needed: int, available: int | None) -> str | None:
    """One line where `needed` bytes are more than nine tenths of those `available`, else None; None also if unknown.

    >>> memory_warning(3 * GIB, 2 * GIB)
    'an evaluation needs about 3.0 GiB and 2.0 GiB are free; take a smaller batch or image size, or fewer `together`'
    >>> memory_warning(GIB, 2 * GIB) is None
    True
    """
    if available is None or needed <= USABLE * available:
        return None
    return (
        f"an evaluation needs about {needed / GIB:.1f} GiB and {available / GIB:.1f} GiB are free; "
        "take a smaller batch or image size, or fewer `together`"
    )


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy of a module whose parameters and buffers have shapes and no memory."""
    tensors: dict[int, Tensor] = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        empty = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        tensors[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(module, memo=dict(tensors))  # what the memo holds is taken from it and not copied


def _evaluate(
    victim: Victim, images: Tensor, labels: Tensor, observed: list[Tensor], recorded: Recorded
) -> tuple[Tensor, ...]:
    """The gradient for the images (B, C, H, W) of an objective that has what attacks have, by autograd."""
    # Twice differentiated, as in an attack: what the update keeps for its own derivative counts too.
    images = images.detach().requires_grad_()
    return torch.autograd.grad(_objective(victim.update(images, labels), observed, recorded), [images])


def _evaluate_together(
    victim: Victim, images: Tensor, labels: Tensor, observed: list[Tensor], recorded: Recorded
) -> tuple[Tensor, Tensor]:
    """The same for candidates (T, B, C, H, W) at once, by `torch.func`; returns gradients and objectives (T,)."""

    def objective(images: Tensor, labels: Tensor, observed: list[Tensor]) -> Tensor:
        gradients, statistics = victim.functional_update(images, labels, victim.state, recorded)
        return _objective(gradients, observed, statistics)

    return torch.func.vmap(torch.func.grad_and_value(objective))(images, labels, observed)


def _objective(gradients: Sequence[Tensor], observed: list[Tensor], recorded: Recorded) -> Tensor:
    """Squared distance of the gradients, plus squares of the batch-norm statistics: what is saved matters, not what."""
    terms = [(gradient - target).square().sum() for gradient, target in zip(gradients, observed, strict=True)]
    terms += [statistic.square().sum() for both in recorded.values() for statistic in both]
    return torch.stack(terms).sum()


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _machine_room(meminfo: Path) -> int | None:
    """MemAvailable, which /proc/meminfo gives in KiB."""
    if not meminfo.is_file():
        return None
    lines = [line.split() for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(lines[0][1]) * 1024 if lines else None


def _own_cgroup() -> Path:
    """The folder of the process's cgroup; the root of all where /proc does not tell of a version 2 hierarchy."""
    groups = Path("/proc/self/cgroup")
    lines = groups.read_text().splitlines() if groups.is_file() else []
    unified = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    return CGROUPS / unified[0] if unified else CGROUPS


def _cgroup_room(folder: Path) -> int | None:
    """The least that is left below the limits of a cgroup and of those around it, or None where none is limited."""
    rooms = []
    # A container is stopped by the tightest limit around it, which need not be its own.
    for group in [folder, *folder.parents]:
        limit, current = group / "memory.max", group / "memory.current"
        if limit.is_file() and current.is_file() and (most := limit.read_text().strip()) != "max":
            rooms.append(max(0, int(most) - int(current.read_text()) + _reclaimable(group / "memory.stat")))
    return min(rooms, default=None)


def _reclaimable(stat: Path) -> int:
    """The bytes of cached files that the kernel gives up first: they count as used but stop nobody."""
    lines = [line.split() for line in stat.read_text().splitlines()] if stat.is_file() else []
    return sum(int(value) for name, value in lines if name == "inactive_file")
