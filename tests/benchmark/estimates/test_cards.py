"""Time on a card that is not here, reckoned from operations."""

import math

import pytest
import torch
from torch import nn

from gradinv.benchmark.estimates import CARDS, Card, card_of, seconds_on
from gradinv.benchmark.estimates.cards import Operations
from gradinv.benchmark.estimates.gpus import PER_CALL, SHARE
from gradinv.benchmark.estimates.memory import MetaEvaluation
from gradinv.metrics.registry import UnknownNameError


def test_operations_are_counted_by_hand():
    images, layer = torch.zeros(2, 3, 8, 8), nn.Conv2d(3, 5, 3, bias=False)
    with torch.no_grad(), Operations() as counted:
        layer(images)
    assert counted.calls == 1
    assert counted.floating_point == 2 * 2 * 5 * 6 * 6 * 3 * 9  # a product and a sum


def test_an_evaluation_is_five_products_of_its_matrix():

    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 10, bias=False))
    evaluation = MetaEvaluation(network, batch_size=2, image_size=4, num_classes=10)
    with Operations() as counted:
        evaluation.run()
    product = 2 * 2 * 48 * 10
    # Forward and weight gradient; then for the images through the features and through the logits' gradient.
    assert counted.floating_point == 5 * product


def test_a_card_is_as_slow_as_its_calls_or_its_arithmetic():
    card = Card("mine", 1e12)
    assert card.seconds(SHARE * 1e12, 10) == 1.0
    assert card.seconds(1.0, 1000) == 1000 * PER_CALL


def test_trials_take_their_evaluations_and_faster_cards_less(make_plan):
    plan = make_plan(victims=[{"model": "resnet18", "state": "untrained"}], attacks=["dlg"], budget=30, batches=1)
    slow, fast = (seconds_on(card, plan, plan.trials) for card in (Card("slow", 1e9), Card("fast", 1e10)))
    assert len(slow) == len(plan.trials)
    for trial, first, second in zip(plan.trials, slow, fast, strict=True):
        assert math.isclose(first, 10 * second)
        assert (first > 0) == bool(trial.evaluations and not trial.skip_reason)


def test_an_unknown_card_names_the_known():
    with pytest.raises(UnknownNameError, match="H100"):
        card_of("H10")
    assert all(name == card.name for name, card in CARDS.items())


@pytest.mark.parametrize(("options", "words"), [
    ((), "--card is for --dry-run --device cuda"),
    (("--dry-run",), "--card is for --dry-run --device cuda"),
    (("--dry-run", "--device", "cuda"), ""),
])  # fmt: skip
def test_the_command_reckons_without_a_card(gradinv, write_suite, options, words):
    result = gradinv("run", write_suite(attacks=["dlg"], batches=1), "--card", "A100", "--jobs", "4", *options)
    assert result.status == (2 if words else 0)
    assert words in result.err
    assert words or "on one A100" in result.out
    assert words or "on 4: reckoned from operations, not measured" in result.out
