"""Recipes: read from names, files and suites, refused in one line, and they train what they are for."""

import copy
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gradinv.benchmark.victims import checked_spec
from gradinv.benchmark.victims.recipe import Recipe, recipe_fields, recipe_names
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.benchmark.victims.training import _optimizer, _step, train_victim
from gradinv.metrics.registry import RequestError


def trained(**fields) -> VictimSpec:
    return checked_spec("test_resnet", "trained", **fields)


def test_a_name_a_file_and_its_fields_are_the_same_victim(tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer: adamw\nlr: 0.001\nweight_decay: 0.05\n")
    fields = {"optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05}
    victims = [trained(recipe=recipe) for recipe in ("adamw", str(file), fields)]
    assert victims[0] == victims[1] == victims[2]
    assert victims[0].key == "test_resnet[lr=0.001,optimizer=adamw,weight_decay=0.05]"
    assert VictimSpec.model_validate(victims[0].model_dump(mode="json")) == victims[0]


def test_the_default_recipe_changes_no_specification() -> None:
    assert trained(recipe="sgd") == trained(recipe={}) == trained()
    assert "recipe" not in trained(recipe="sgd").model_dump()
    assert not {"optimizer", "precision"} & set(Recipe().model_dump())


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_say_every_field(name: str) -> None:
    assert set(recipe_fields(name)) == set(Recipe.model_fields)
    assert Recipe.model_validate(recipe_fields(name))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("adam", "unknown recipe 'adam'; did you mean adamw"),
        ("missing.yaml", "recipe missing.yaml: .*No such file"),
        ({"lr": 0}, "recipe: lr: Input should be greater than 0"),
        ({"lr": float("nan")}, "recipe: lr: "),
        ({"epochs": 3}, "recipe: epochs: Extra inputs are not permitted"),
        ({"precision": "float16"}, "recipe: precision: Input should be 'float32' or 'bfloat16'"),
        ({"optimizer": "lion"}, "recipe: optimizer: Input should be 'sgd' or 'adamw'"),
        (3, "recipe: Input should be a valid dictionary"),
    ],
)
def test_a_bad_recipe_is_one_line(recipe, message: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        trained(recipe=recipe)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["lr: 0.1\nlr: 0.2", "a: [", "", "- lr", "lr: 010"])
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(RequestError, match="recipe") as refused:
        trained(recipe=str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("fields", [{"state": "untrained"}, {"state": "trained", "weights": "mine.pt"}])
def test_a_recipe_for_what_is_not_trained_is_refused(fields: dict) -> None:
    with pytest.raises(RequestError, match="recipe is for victims that are trained"):
        checked_spec("test_resnet", recipe="adamw", **fields)


def test_adamw_steps_as_its_equations_say() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2).double()
    start = copy.deepcopy(network)
    recipe = Recipe(optimizer="adamw", lr=0.01, weight_decay=0.1, momentum=0.8)
    optimizer = _optimizer(network, recipe)
    network(torch.ones(1, 3).double()).square().sum().backward()
    optimizer.step()
    # Loshchilov and Hutter 2019: decay apart from the gradient; the first step is the gradient's sign.
    gradient = network.weight.grad
    expected = start.weight * (1 - 0.01 * 0.1) - 0.01 * gradient / (gradient.abs() + 1e-8)
    assert torch.allclose(network.weight, expected, atol=1e-12)


def test_the_recipe_is_what_trains_the_network(make_dataset) -> None:
    dataset, weights = make_dataset(), {}
    for name in recipe_names():
        path = train_victim(trained(epochs=8, recipe=name), dataset, progress=False)
        report = json.loads(path.with_suffix(".json").read_text())
        assert report["recipe"] == {**Recipe.model_validate(recipe_fields(name)).model_dump(), "epochs": 8}
        assert all(value.dtype in (torch.float32, torch.int64) for value in load_file(path).values())
        weights[name] = load_file(path)["fc.weight"]
    for first, second in itertools.combinations(weights.values(), 2):
        assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_step_in_bfloat16_is_the_step_in_float32_rounded(precision: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 4))
    images, labels = torch.randn(16, 3, 8, 8), torch.arange(16) % 4
    expected = torch.autograd.grad(nn.functional.cross_entropy(network(images), labels), tuple(network.parameters()))
    made: list[torch.dtype] = []
    network[0].register_forward_hook(lambda _module, _input, output: made.append(output.dtype))
    loss = _step(network, torch.optim.SGD(network.parameters(), lr=0.0), images, labels, precision)
    assert made == [dtype]
    assert loss.dtype == torch.float32
    # Eight bits of mantissa, in every product of a chain of four.
    tolerance = 0.0 if precision == "float32" else 4 * 2**-8
    for parameter, exact in zip(network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert (parameter.grad - exact).norm() <= tolerance * exact.norm()
