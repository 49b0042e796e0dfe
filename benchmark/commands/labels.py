"""`gradinv labels`: a board of label inference."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from gradinv.benchmark.commands.options import Device, Download, console, resolve_device
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.victims.loading import VictimSpec

BATCH_SIZES = [1, 2, 4, 8, 16, 32, 48]


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
    seed: int = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of state trained; else by the size of the data.")] = None,
    batch_size: Annotated[list[int], typer.Option(min=1, help="Images in a batch; repeatable.")] = BATCH_SIZES,
    batches: Annotated[int, typer.Option(min=1, help="Private batches for each batch size.")] = 1_000,
    device: Device = "auto",
    download: Download = False,
) -> None:
    """Infer the labels of many batches by every rule; writes labels.csv, labels.batches.csv and a figure.

    Labels are distinct within a batch. The same command goes on where it was stopped.
    """
    from gradinv.benchmark.datasets import create_dataset
    from gradinv.benchmark.label_inference.run import infer_labels_of
    from gradinv.metrics.boards.label_board import label_board, write_label_boards
    from gradinv.metrics.boards.label_views import draw_label_figure, print_label_board

    if epochs is not None and "trained" not in state:
        raise RequestError("--epochs is for --state trained only")
    specs = [_spec(model, chosen, seed, stem, epochs) for chosen in dict.fromkeys(state)]
    data = create_dataset(dataset, image_size, download=download)
    cells = [
        cell
        for spec in specs
        for cell in infer_labels_of(
            spec,
            data,
            batch_sizes=batch_size,
            batches=batches,
            out=out,
            device=resolve_device(device),
            download=download,
        )
    ]
    written = [*write_label_boards(cells, out), *draw_label_figure(label_board(cells), out / "labels")]
    print_label_board(label_board(cells), console())
    print("\n".join(str(path) for path in written))


def _spec(model: str, state: str, seed: int, stem: str, epochs: int | None) -> "VictimSpec":
    """The victim; RequestError in one line where its options contradict each other."""
    from gradinv.benchmark.victims.loading import VictimSpec
    from pydantic import ValidationError

    own = {"epochs": epochs if state == "trained" else None}
    try:
        return VictimSpec.model_validate({"model": model, "state": state, "seed": seed, "stem": stem, **own})
    except ValidationError as error:
        raise RequestError(f"--state {state}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error
