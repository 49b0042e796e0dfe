"""`gradinv labels`: a board of label inference."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradinv.benchmark.commands.options import (
    LARGEST_SEED,
    Download,
    Plugins,
    console,
    load_plugins,
)
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.metrics.records import require_folder
from gradinv.metrics.registry import RequestError

BATCH_SIZES = [1, 2, 4, 8, 16, 32, 48]
MOST_BATCHES = 1_000_000


def labels(
    dataset: Annotated[str, typer.Option(help="Data set that the private batches come from.")],
    model: Annotated[str, typer.Option(help="A timm model, or lenet_dlg.")],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the board; a run goes on in it.")],
    state: Annotated[
        list[str], typer.Option("--state", help="untrained, early, trained or pretrained; repeatable.")
    ] = ["untrained"],  # noqa: B006 - typer copies it
    image_size: Annotated[int | None, typer.Option(help="Pixels; else the data set's own.")] = None,
    stem: Annotated[
        Literal["default", "cifar"], typer.Option(help="cifar: a 3x3 first convolution and no pooling.")
    ] = "default",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED)] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of state trained; else by the size of the data.")] = None,
    batch_size: Annotated[list[int], typer.Option(min=1, help="Images in a batch; repeatable.")] = BATCH_SIZES,
    max_equal_labels: Annotated[
        list[int], typer.Option(min=1, help="Most images of one label in a batch; 1: distinct. Repeatable.")
    ] = [1],  # noqa: B006
    client_classes: Annotated[
        int | None, typer.Option(min=1, help="Classes of a batch where labels may be equal; else all.")
    ] = None,
    rule: Annotated[list[str], typer.Option("--rule", help="A rule's key; repeatable. Without: all rules.")] = [],  # noqa: B006
    auxiliary: Annotated[
        int, typer.Option(min=0, help="Tuning images a class for rules that need auxiliary images; 0: none.")
    ] = 25,
    batches: Annotated[int, typer.Option(min=1, max=MOST_BATCHES, help="Private batches for each batch size.")] = 1_000,
    weights: Annotated[Path | None, typer.Option(help="A local weight file of a trained or pretrained victim.")] = None,
    device: Device = "auto",
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Infer the labels of many batches by every rule; writes labels.csv, labels.batches.csv and a figure.

    The same command goes on where it was stopped.
    """
    from gradinv.attacks.label_rules import create_rule, rule_keys
    from gradinv.benchmark.datasets import create_dataset
    from gradinv.benchmark.label_inference import LabelSetting, infer_labels_of
    from gradinv.benchmark.victims import checked_spec
    from gradinv.metrics.boards import label_board, print_label_board, write_label_boards
    from gradinv.metrics.figures import draw_label_figure

    if epochs is not None and "trained" not in state:
        raise RequestError("--epochs is for --state trained only")
    require_folder(out, "--out")
    load_plugins(plugin, download)
    if client_classes is not None and max(max_equal_labels) == 1:
        raise RequestError("--client-classes is for labels that may be equal; give --max-equal-labels above 1")
    # All are validated before the first is trained.
    rules = tuple(dict.fromkeys(rule)) or tuple(rule_keys())
    for key in rules:
        create_rule(key)
    file = None if weights is None else str(weights)
    specs = [
        checked_spec(model, chosen, seed=seed, stem=stem, epochs=epochs if chosen == "trained" else None, weights=file)
        for chosen in dict.fromkeys(state)
    ]
    data = create_dataset(dataset, image_size, download=download)
    settings = [
        LabelSetting(tuple(batch_size), equal, client_classes if equal > 1 else None, rules, auxiliary).possible(data)
        for equal in dict.fromkeys(max_equal_labels)
    ]
    cells = [
        cell
        for spec in specs
        for setting in settings
        for cell in infer_labels_of(
            spec,
            data,
            setting,
            batches=batches,
            out=out,
            device=resolve_device(device),
            download=download,
        )
    ]
    written = [*write_label_boards(cells, out), *draw_label_figure(label_board(cells), out / "labels")]
    print_label_board(label_board(cells), console())
    print("\n".join(str(path) for path in written))
