"""`gradinv train`: a victim, with its recipe beside it; `gradinv train-autoencoder`: what public images teach."""

from typing import Annotated, Literal

import typer

from gradinv.benchmark.commands.names import datasets, models, training_recipes
from gradinv.benchmark.commands.options import (
    LARGEST_SEED,
    Download,
    ImageSizes,
    Plugins,
    asked_image_size,
    load_plugins,
)
from gradinv.benchmark.machine import Device, resolve_device


def train(
    model: Annotated[
        str, typer.Argument(help="A timm model or a network of a paper (gradinv list models).", autocompletion=models)
    ],
    dataset: Annotated[str, typer.Option(help="Data set to train on.", autocompletion=datasets)] = "photos",
    image_size: ImageSizes = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Else by the size of the data set.")] = None,
    stem: Annotated[
        Literal["default", "cifar"], typer.Option(help="cifar: a 3x3 first convolution and no pooling.")
    ] = "default",
    recipe: Annotated[
        str | None,
        typer.Option(help="A shipped recipe or a YAML file of its fields; else sgd.", autocompletion=training_recipes),
    ] = None,
    rounds: Annotated[
        list[int], typer.Option("--round", min=0, help="Keep the network after so many epochs too; repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED)] = 0,
    device: Device = "auto",
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Train a victim and keep it in the cache, where suites find it; prints its accuracy and its files."""
    import json

    from gradinv.benchmark.datasets import create_dataset
    from gradinv.benchmark.victims import checked_spec, train_victim

    load_plugins(plugin, download)
    shaping = {"seed": seed, "stem": stem, "epochs": epochs, "recipe": recipe}
    spec = checked_spec(model, "trained", **shaping)
    for number in rounds:  # contradictions are lines before hours of training
        checked_spec(model, "trained", round=number, **shaping)
    data = create_dataset(dataset, asked_image_size(image_size), download=download)
    path = train_victim(spec, data, rounds=rounds, device=resolve_device(device))
    accuracy = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["accuracy"]
    print(f"{spec.key} on {dataset}: accuracy {accuracy:.1%} on the held-out images\n{path}")


def train_autoencoder(
    dataset: Annotated[str, typer.Option(help="Data set whose train images are public.", autocompletion=datasets)],
    image_size: ImageSizes = None,
    images: Annotated[int, typer.Option(min=2, help="At most so many of them.")] = 20_000,
    epochs: Annotated[int, typer.Option(min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED)] = 0,
    device: Device = "auto",
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Train an autoencoder on public images, for attacks that are granted `auxiliary_images: train`."""
    import json

    from gradinv.benchmark.auxiliary import AutoencoderRecipe, train_autoencoder
    from gradinv.benchmark.datasets import create_dataset

    load_plugins(plugin, download)
    data = create_dataset(dataset, asked_image_size(image_size), download=download)
    recipe = AutoencoderRecipe(images=images, epochs=epochs)
    path = train_autoencoder(data, recipe, seed=seed, device=resolve_device(device))
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    count, error = facts["trained_on"], facts["held_out_error"]
    print(f"autoencoder of {count} train images of {dataset}: squared error {error:.5f} on others\n{path}")
