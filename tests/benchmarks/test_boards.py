"""What it takes to make a board of ten thousand records and to compare two of its attacks, timed: `tox -e bench`."""

import random
import zlib
from collections.abc import Iterator

import pytest

from gradinv.metrics.boards.leaderboard_table import leaderboard, write_board
from gradinv.metrics.boards.lines import winners
from gradinv.metrics.comparison.findings import findings_of
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records
from gradinv.metrics.records.record import Cell, ImageScore, Record
from gradinv.metrics.records.samples import samples_of
from gradinv.metrics.records.validation import checksums

ATTACKS, SEEDS, BATCHES = 20, 10, 50
ROUNDS = 3
SETTING = {
    "dataset": "photos",
    "image_size": 16,
    "victim": "lenet_dlg",
    "victim_state": "untrained",
    "bn_mode": "eval",
    "bn_statistics": "none",
    "granted_numbers_per_pixel": 0.0,
    "labels": "known",
    "update": "gradient",
    "defense": "none",
    "adaptive": False,
    "batch_size": 1,
    "max_equal_labels": 1,
}


def synthetic_records() -> Iterator[Record]:
    """Records of twenty attacks on ten victims, fifty batches each; the attacks differ by half a decibel."""
    for attack in range(ATTACKS):
        for seed in range(SEEDS):
            cell = Cell(attack=f"attack{attack}", victim_seed=seed, **SETTING)
            draw = random.Random(f"{attack} {seed}")
            for batch in range(BATCHES):
                metrics = {"psnr": draw.gauss(10 + attack / 2, 1), "gmsd": 0.2}
                image = ImageScore(slot=0, reconstruction=0, image=f"{batch:016x}", label=0, metrics=metrics)
                yield Record(
                    id=f"{zlib.crc32(f'{attack} {seed}'.encode()):08x}{batch:08x}",
                    suite="large",
                    order=attack,
                    repetition=batch,
                    cell=cell,
                    spec={},
                    state="done",
                    images=[image],
                    metrics={"label_accuracy": 1.0},
                    slot_accuracy=1.0,
                    evaluations=100,
                )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run directory with these records."""
    directory = RunDirectory(tmp_path_factory.mktemp("large"))
    for record in synthetic_records():
        directory.trial(record.id).mkdir(parents=True)
        directory.record(record.id).write_text(record.model_dump_json(), encoding="utf-8")
        directory.checksums(record.id).write_text(checksums(directory, record.id), encoding="utf-8")
    return directory.path


@pytest.fixture(scope="module")
def records(run):
    """The records, read once."""
    from_disk, faults = read_records([run])
    assert (len(from_disk), faults) == (ATTACKS * SEEDS * BATCHES, [])
    return from_disk


@pytest.mark.benchmark(group="ten thousand records")
def test_read(benchmark, run):
    assert benchmark.pedantic(read_records, args=([run],), rounds=ROUNDS)[1] == []


@pytest.mark.benchmark(group="ten thousand records")
def test_leaderboard(benchmark, records):
    assert len(benchmark.pedantic(leaderboard, args=(records,), rounds=ROUNDS)) == ATTACKS * SEEDS


@pytest.mark.benchmark(group="ten thousand records")
def test_write_board(benchmark, records, tmp_path):
    benchmark.pedantic(write_board, args=(records, tmp_path / "board.csv"), rounds=ROUNDS)
    assert len((tmp_path / "board.images.csv").read_text(encoding="utf-8").splitlines()) == len(records) + 1


@pytest.mark.benchmark(group="ten thousand records")
def test_winners(benchmark, records):
    assert len(benchmark.pedantic(winners, args=(records,), rounds=ROUNDS)) == ATTACKS * SEEDS


@pytest.mark.benchmark(group="ten thousand records")
def test_compare(benchmark, records):
    def compare():
        return findings_of(samples_of(records, "records"), "attack9", ["attack3"], any_budget=False)

    (findings,), _ = benchmark.pedantic(compare, rounds=ROUNDS)
    assert findings.n_batches == BATCHES
