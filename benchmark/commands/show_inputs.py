"""What `gradinv show model` and `gradinv show dataset` print: a network, and images, as they are on this machine."""

from gradinv.attacks.victim import bn_layers
from gradinv.benchmark.datasets import Dataset, Role, create_dataset
from gradinv.benchmark.victims import build_network, pretrained_source, require_model

_CLASSES, _SIZES = 10, (32, 224)


def model_facts(name: str) -> str:
    """A network as a victim of ten classes; UnknownNameError where timm has none of that name."""
    require_model(name)
    lines = [name]
    for size in _SIZES:
        try:
            # At both sizes, since a network that goes by patches or strides may take one of them alone.
            module = build_network(name, num_classes=_CLASSES, image_size=size, stem="default")
        except Exception as error:  # noqa: BLE001 - timm's networks raise what they like for a size they do not take
            lines.append(f"at {size} px: cannot be built ({' '.join(str(error).split())[:160]})")
            continue
        parameters = sum(parameter.numel() for parameter in module.parameters())
        channels = sum(layer.num_features for layer in bn_layers(module))
        norms = f"{len(bn_layers(module))} batch-norm layers of {channels} channels" if channels else "no batch norm"
        lines.append(f"at {size} px, {_CLASSES} classes: {parameters:,} parameters, {norms}")
    source = pretrained_source(name)
    lines.append(f"pretrained weights: {f'here ({source})' if source else 'not here; see `gradinv run --download`'}")
    lines.append("states: untrained, early, trained (trained in place), pretrained; `stem: cifar` for ResNets")
    return "\n".join(lines)


def dataset_facts(name: str) -> str:
    """A data set with its splits; UnknownNameError or DataError, with what is missing, where it cannot be had."""
    dataset = create_dataset(name, None)
    classes = ", ".join(dataset.classes[:4]) + (", ..." if len(dataset.classes) > 4 else "")
    roles: tuple[Role, ...] = ("train", "tuning", "evaluation")
    return "\n".join(
        [
            f"{dataset.name}: {len(dataset.classes)} classes ({classes})",
            f"{dataset.image_size} px unless told otherwise",
            f"normalised by mean {_numbers(dataset.mean)}, std {_numbers(dataset.std)}",
            *(_split(dataset, role) for role in roles),
        ]
    )


def _split(dataset: Dataset, role: Role) -> str:
    if not dataset.has(role):
        return f"{role}: none"
    split = dataset.split(role)
    return f"{role}: {len(split):,} images, content {split.content_hash[:16]}"


def _numbers(values: tuple[float, ...]) -> str:
    return " / ".join(f"{value:g}" for value in values)
