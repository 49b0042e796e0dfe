"""`gradinv labels`: a board of label inference."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gradinv.benchmark.commands.names import datasets, models, rules, states, updates
from gradinv.benchmark.commands.options import (
    LARGEST_SEED,
    Download,
    ImageSizes,
    Plugins,
    asked_image_size,
    console,
    load_plugins,
    taking,
)
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.metrics.records import require_folder
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.datasets import Dataset
    from gradinv.benchmark.label_inference import LabelSetting
    from gradinv.benchmark.victims import VictimSpec

BATCH_SIZES = [1, 2, 4, 8, 16, 32, 48]
MOST_BATCHES = 1_000_000


@dataclass(frozen=True)
class LabelRequest:
    """What `gradinv labels` is asked for, option by option."""

    dataset: Annotated[str, typer.Option(help="Data set that the private batches come from.", autocompletion=datasets)]
    model: Annotated[
        str, typer.Option(help="A timm model or a network of a paper (gradinv list models).", autocompletion=models)
    ]
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the board; a run goes on in it.")]
    state: Annotated[
        list[str],
        typer.Option("--state", help="untrained, early, trained or pretrained; repeatable.", autocompletion=states),
    ] = field(default_factory=lambda: ["untrained"])
    image_size: ImageSizes = None
    stem: Annotated[
        Literal["default", "cifar"], typer.Option(help="cifar: a 3x3 first convolution and no pooling.")
    ] = "default"
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED)] = 0
    epochs: Annotated[int | None, typer.Option(min=1, help="Of state trained; else by the size of the data.")] = None
    batch_size: Annotated[list[int], typer.Option(min=1, help="Images in a batch; repeatable.")] = field(
        default_factory=lambda: list(BATCH_SIZES)
    )
    max_equal_labels: Annotated[
        list[int], typer.Option(min=1, help="Most images of one label in a batch; 1: distinct. Repeatable.")
    ] = field(default_factory=lambda: [1])
    client_classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of a batch where labels may be equal; else all.")
    ] = None
    rule: Annotated[
        list[str], typer.Option("--rule", help="A rule's key; repeatable. Without: all rules.", autocompletion=rules)
    ] = field(default_factory=list)
    auxiliary: Annotated[
        int, typer.Option(min=0, help="Tuning images a class for rules that need auxiliary images; 0: none.")
    ] = 25
    update: Annotated[
        list[str],
        typer.Option(
            "--update",
            help="What a client sends, by key: weight_update[lr=0.1,epochs=4]. Repeatable.",
            autocompletion=updates,
        ),
    ] = field(default_factory=lambda: ["gradient"])
    batches: Annotated[int, typer.Option(min=1, max=MOST_BATCHES, help="Private batches for each batch size.")] = 1_000
    weights: Annotated[Path | None, typer.Option(help="A local weight file of a trained or pretrained victim.")] = None
    device: Device = "auto"
    download: Download = False
    plugin: Plugins = field(default_factory=list)


@taking(LabelRequest)
def labels(request: LabelRequest) -> None:
    """Infer the labels of many batches by every rule; writes labels.csv, labels.batches.csv and a figure.

    The same command goes on where it was stopped.
    """
    from gradinv.benchmark.datasets import create_dataset
    from gradinv.benchmark.label_inference import infer_labels_of
    from gradinv.metrics.boards import label_board, print_label_board, write_label_boards
    from gradinv.metrics.figures import draw_label_figure

    if request.epochs is not None and "trained" not in request.state:
        raise RequestError("--epochs is for --state trained only")
    if request.client_classes is not None and max(request.max_equal_labels) == 1:
        raise RequestError("--client-classes is for labels that may be equal; give --max-equal-labels above 1")
    require_folder(request.out, "--out")
    load_plugins(request.plugin, request.download)
    # All are validated before the first is trained.
    rules, victims = _rules(request), _victims(request)
    data = create_dataset(request.dataset, asked_image_size(request.image_size), download=request.download)
    settings = _settings(request, rules, data)
    cells = [
        cell
        for spec in victims
        for setting in settings
        for cell in infer_labels_of(
            spec,
            data,
            setting,
            batches=request.batches,
            out=request.out,
            device=resolve_device(request.device),
            download=request.download,
        )
    ]
    written = [*write_label_boards(cells, request.out), *draw_label_figure(label_board(cells), request.out / "labels")]
    print_label_board(label_board(cells), console())
    print("\n".join(str(path) for path in written))


def _rules(request: LabelRequest) -> tuple[str, ...]:
    """The keys of the rules that are asked for, each made once: a key that none has is refused."""
    from gradinv.attacks.label_rules import create_rule, rule_keys

    rules = tuple(dict.fromkeys(request.rule)) or tuple(rule_keys())
    for key in rules:
        create_rule(key)
    return rules


def _victims(request: LabelRequest) -> "list[VictimSpec]":
    from gradinv.benchmark.victims import checked_spec

    return [
        checked_spec(
            request.model,
            state,
            seed=request.seed,
            stem=request.stem,
            # Of several states only this one has epochs; that it is among them was looked at before.
            epochs=request.epochs if state == "trained" else None,
            weights=None if request.weights is None else str(request.weights),
        )
        for state in dict.fromkeys(request.state)
    ]


def _settings(request: LabelRequest, rules: tuple[str, ...], data: "Dataset") -> "list[LabelSetting]":
    from gradinv.benchmark.label_inference import LabelSetting

    return [
        LabelSetting(
            tuple(request.batch_size),
            equal,
            request.client_classes if equal > 1 else None,
            rules,
            request.auxiliary,
            update=update,
        ).possible(data)
        for equal in dict.fromkeys(request.max_equal_labels)
        for update in dict.fromkeys(request.update)
    ]
