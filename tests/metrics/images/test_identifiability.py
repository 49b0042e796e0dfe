"""Identifiability on planted features and identities; what is added to a record after its trial."""

import math

import pytest
import torch

from gradinv.metrics.boards.columns import leaderboard_columns
from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.images.facts import facts_of
from gradinv.metrics.images.identifiability import Pool, identified
from gradinv.metrics.images.iip import iip_name
from gradinv.metrics.records.additions import Additions, add, with_additions
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records


def make_pool(count: int, classes: int = 10, dimensions: int = 32) -> Pool:
    """Random features, every picture different."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(count, dimensions, generator=generator)
    return Pool(features, torch.arange(count) % classes, torch.arange(count))


@pytest.mark.parametrize("within_class", [False, True])
def test_exact_images_are_all_identified_at_any_length_of_their_features(within_class):
    pool = make_pool(600)
    originals = torch.arange(0, 600)  # several chunks
    lengths = torch.linspace(0.1, 9, 600)[:, None]
    assert identified(lengths * pool.features, originals, pool, within_class=within_class).tolist() == [1.0] * 600


def test_noise_is_identified_as_often_as_chance_says():
    pool = make_pool(100)
    noise = torch.randn(20_000, 32, generator=torch.Generator().manual_seed(1))
    originals = torch.randint(0, 100, (20_000,), generator=torch.Generator().manual_seed(2))
    whole = identified(noise, originals, pool).mean().item()
    own = identified(noise, originals, pool, within_class=True).mean().item()
    assert whole == pytest.approx(0.01, abs=4 * math.sqrt(0.01 * 0.99 / 20_000))
    assert own == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 20_000))


def test_it_is_a_loop_over_the_pool():
    pool = make_pool(40, classes=4)
    ours = pool.features[:12] + 3 * torch.randn(12, 32, generator=torch.Generator().manual_seed(3))
    for within_class in (False, True):
        expected = []
        for index, mine in enumerate(ours):
            candidates = [m for m in range(40) if not within_class or pool.labels[m] == pool.labels[index]]
            cosines = [torch.cosine_similarity(mine, pool.features[m], dim=0).item() for m in candidates]
            expected.append(float(candidates[cosines.index(max(cosines))] == index))
        assert identified(ours, torch.arange(12), pool, within_class=within_class).tolist() == expected


def test_the_same_picture_twice_counts_as_the_original_and_a_tie_with_another_does_not():
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    once, twice = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 2])
    ours, originals = features[:1], torch.tensor([0])
    assert identified(ours, originals, Pool(features, torch.zeros(3), twice)).tolist() == [1.0]
    assert identified(ours, originals, Pool(features, torch.zeros(3), once)).tolist() == [0.0]
    assert identified(torch.zeros(1, 2), originals, Pool(features, torch.zeros(3), twice)).tolist() == [0.0]


def test_an_original_alone_in_its_class_is_not_measured():
    pool = Pool(torch.eye(3), torch.tensor([0, 1, 1]), torch.arange(3))
    found = identified(torch.eye(3), torch.arange(3), pool, within_class=True)
    assert math.isnan(found[0])
    assert found[1:].tolist() == [1.0, 1.0]


NAME = iip_name("resnet18", 5000)


@pytest.fixture
def run(tmp_path, write_run, records):
    return RunDirectory(write_run(tmp_path, records))


def test_what_is_added_stands_in_records_and_boards_and_the_record_is_untouched(run, records):
    scored = [record for record in records if record.is_scored]
    before = {record.id: run.record(record.id).read_bytes() for record in scored}
    for record in scored[:3]:
        add(run.additions(record.id), Additions(metrics={NAME: [1.0, None]}, notes={NAME: "weights 0123"}))
    add(run.additions(scored[3].id), Additions(notes={NAME: "no pictures"}))
    again, faults = read_records([run.path])
    assert faults == []
    assert [again[0].images[slot].metrics.get(NAME) for slot in (0, 1)] == [1.0, None]
    board = leaderboard(again)
    assert board[f"{NAME}_mean"][0] == 1.0
    assert f"{NAME}: weights 0123" in board["notes"][0]
    assert f"{NAME}: no pictures" in board["notes"][1]
    assert {record.id: run.record(record.id).read_bytes() for record in scored} == before


def test_a_later_measurement_stands_in_for_the_earlier_and_leaves_others(run, records):
    path = run.additions(records[0].id)
    add(path, Additions(metrics={NAME: [1.0, 1.0], "other": [0.5, 0.5]}))
    add(path, Additions(metrics={NAME: [0.0, 1.0]}))
    found = with_additions(records[0], path)
    assert [image.metrics[NAME] for image in found.images] == [0.0, 1.0]
    assert [image.metrics["other"] for image in found.images] == [0.5, 0.5]
    add(path, Additions(notes={NAME: "no pictures"}))
    assert NAME not in with_additions(records[0], path).images[0].metrics


@pytest.mark.parametrize("content", ["{", '{"metrics": {"a": [1.0]}}', '{"loss": 1}'])
def test_a_broken_addition_is_named_and_costs_its_trial_only(run, records, content):
    run.additions(records[0].id).write_text(content)
    found, faults = read_records([run.path])
    assert len(found) == len(records) - 1
    assert len(faults) == 1
    assert "additions.json" in faults[0]
    assert "measure again" in faults[0]


def test_tables_know_what_the_metric_is():
    assert facts_of(NAME).title == "IIP (resnet18)"
    assert (facts_of(NAME).direction, facts_of(NAME).low, facts_of(NAME).high) == ("higher", 0.0, 1.0)
    assert "features of resnet18" in leaderboard_columns([NAME])[f"{NAME}_mean"].meaning
    assert facts_of("iip_of_a_plugin") is None
