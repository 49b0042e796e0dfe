"""Label inference over many batches: rules against autograd, nothing run twice, wrong requests in one line."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from gradinv.attacks.label_rules import LabelInferenceError, create_rule, rule_keys
from gradinv.benchmark import cli
from gradinv.benchmark.datasets.batches import draw_batch
from gradinv.benchmark.label_inference import run as label_inference, setting as setting_file
from gradinv.benchmark.label_inference.bench import Bench
from gradinv.benchmark.label_inference.run import infer_labels_of
from gradinv.benchmark.label_inference.setting import LabelRequestError, LabelSetting, auxiliary_images
from gradinv.benchmark.victims.loading import load_victim
from gradinv.benchmark.victims.normalisation import normalise
from gradinv.benchmark.victims.spec import VictimSpec

SIZES = [1, 2, 4, 6]
RULES = ("sum", "min")
SPEC = VictimSpec(model="test_resnet", state="untrained", seed=2)


@pytest.fixture
def dataset(make_dataset):
    """Six classes of 32 px."""
    return make_dataset(classes=6, size=32, train=8)


@pytest.fixture
def counted(monkeypatch):
    """The repetitions that are really run, in order; once `die_after` so many were, a run is killed."""

    class Counted(list):
        die_after = 10**9

    seen = Counted()

    original = Bench.run

    def run(bench, repetitions):
        if len(seen) >= seen.die_after:
            raise KeyboardInterrupt
        seen.extend(repetitions)
        return original(bench, repetitions)

    monkeypatch.setattr(Bench, "run", run)
    monkeypatch.setattr(label_inference, "CHUNK", 3)
    return seen


@pytest.fixture
def infer(dataset, tmp_path):
    """Runs label inference in `tmp_path`, silently."""

    def run(spec=SPEC, *, sizes=SIZES, batches=8, data=dataset, **fields):
        setting = LabelSetting(tuple(sizes), **{"rules": RULES, "auxiliary": 3, **fields})
        return infer_labels_of(spec, data, setting, batches=batches, out=tmp_path, progress=False)

    return run


@pytest.mark.parametrize("state", ["untrained", "trained"])
def test_the_same_shares_as_autograd_on_the_whole_network(dataset, infer, state):
    spec = VictimSpec(model="test_resnet", state=state, seed=2, epochs=1 if state == "trained" else None)
    cells = {(cell.rule, cell.batch_size): cell for cell in infer(spec, batches=5)}
    assert set(cells) == {(rule, size) for rule in RULES for size in SIZES}
    loaded = load_victim(spec, dataset)
    weight = loaded.module.get_classifier().weight
    for size in SIZES:
        for repetition in range(5):
            batch = draw_batch(dataset, repetition=repetition, batch_size=size)
            logits = loaded.module(normalise(batch.images, loaded.mean, loaded.std))
            (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, batch.labels), weight)
            for rule, scores in (("sum", gradient.sum(1)), ("min", gradient.min(1).values)):
                inferred = set(scores.topk(size, largest=False).indices.tolist())
                share = len(inferred & set(batch.labels.tolist())) / size
                assert cells[rule, size].accuracies[repetition] == share
    assert {cell.victim_accuracy for cell in cells.values()} == {loaded.accuracy}
    assert {cell.zero_gradient_share for cell in cells.values()} == {loaded.zero_gradient_share}
    assert (loaded.accuracy is None) == (state == "untrained")


def test_labels_of_one_image_are_always_found_where_features_are_not_negative(infer):
    assert {cell.accuracies for cell in infer(sizes=[1])} == {(1.0,) * 8}


def test_under_a_defense_the_rules_see_what_the_client_sends(infer):
    shares = {
        defense: {
            (cell.rule, cell.batch_size): cell.accuracies for cell in infer(batches=6, sizes=[1, 4], defense=defense)
        }
        for defense in (
            "none",
            "pruning[ratio=0.0]",
            "clipping[max_norm=0.001]",
            "gaussian_noise[sigma=10.0]",
            "precode",
        )
    }
    plain = shares.pop("none")
    # What changes no bit, and what changes the length alone, leave every label where it was.
    assert shares["pruning[ratio=0.0]"] == shares["clipping[max_norm=0.001]"] == plain
    assert plain["sum", 1] == (1.0,) * 6
    assert sum(shares["gaussian_noise[sigma=10.0]"]["sum", 1]) < 5
    assert shares["precode"].keys() == plain.keys()


def test_of_several_steps_the_rules_see_the_mean_gradient_and_the_network_afterwards(dataset, infer):
    one_step = "weight_update[lr=0.1]"
    plain, once = (
        {(cell.rule, cell.batch_size): cell.accuracies for cell in infer(batches=3, sizes=[1, 4], update=update)}
        for update in ("gradient", one_step)
    )
    assert once == plain
    cells = infer(batches=3, sizes=[4], rules=("rlu", "ilrg", "min"), update="weight_update[epochs=4,lr=0.1]")
    assert {cell.update for cell in cells} == {"weight_update[epochs=4,lr=0.1]"}
    assert [bool(cell.skipped) for cell in cells] == [False, True, False]
    with pytest.raises(LabelRequestError, match="does not say how the client trains"):
        infer(update="weight_update")


def test_a_finished_run_is_not_run_again(counted, infer):
    first = infer()
    assert counted == list(range(8))
    assert infer() == first
    assert counted == list(range(8))


def test_a_killed_run_loses_at_most_a_chunk(counted, infer):
    counted.die_after = 6
    with pytest.raises(KeyboardInterrupt):
        infer()
    counted.die_after = 10**9
    resumed = infer()
    assert counted == list(range(8))
    assert all(len(cell.accuracies) == 8 for cell in resumed)


def test_one_thread_as_for_a_trial_and_the_callers_afterwards(infer, monkeypatch):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    infer(batches=1)
    assert seen == [1, before]


def test_more_batches_go_on_from_the_chunks(counted, infer):
    few, more = infer(batches=3), infer(batches=6)
    assert counted == list(range(6))
    assert [cell.accuracies[:3] for cell in more] == [cell.accuracies for cell in few]


def test_what_changes_a_result_is_run_anew(counted, infer, dataset, make_dataset, monkeypatch):
    infer(batches=1)
    infer(SPEC.model_copy(update={"seed": 3}), batches=1)
    infer(sizes=[1, 2], batches=1)
    infer(data=make_dataset(classes=6, size=32, train=8, held_out=8), batches=1)
    monkeypatch.setattr(label_inference, "result_versions", lambda: {"torch": "99"})
    infer(batches=1)
    assert counted == [0] * 5


def test_a_damaged_chunk_is_run_again(counted, infer, tmp_path):
    first = infer(batches=3)
    (chunk,) = (tmp_path / "chunks").iterdir()
    chunk.write_text(chunk.read_text()[:-20])
    assert infer(batches=3) == first
    assert counted == [0, 1, 2] * 2
    assert json.loads(chunk.read_text())["versions"]["torch"] == torch.__version__.split("+")[0]


def test_batch_sizes_are_sorted_and_counted_once(dataset):
    assert LabelSetting((4, 1, 4)).possible(dataset).batch_sizes == (1, 4)


def test_every_rule_has_a_cell_measured_or_skipped_with_its_reason(infer):
    cells = infer(sizes=[1, 8], batches=4, max_equal_labels=8, client_classes=3, rules=tuple(rule_keys()))
    assert len(cells) == 2 * len(rule_keys())
    for cell in cells:
        assert len(cell.accuracies) == (0 if cell.skipped else 4)
        assert (cell.max_equal_labels, cell.client_classes) == (8, 3)
        assert cell.auxiliary == ("18 tuning images of tiny" if cell.letter == "D" else "")
    skipped = {(cell.rule, cell.batch_size): cell.skipped for cell in cells if cell.skipped}
    assert skipped["sign", 8] == "the rule is for one image, and the batch has 8"
    assert skipped["min", 8] == "8 distinct labels cannot be inferred among 6 classes"
    assert {cell.letter for cell in cells if cell.rule in ("rlu", "zlg_plus", "llg_plus")} == {"D"}
    assert all(8 * share == round(8 * share) for cell in cells if cell.batch_size == 8 for share in cell.accuracies)


def test_the_true_counts_are_what_is_compared(infer, dataset):
    cells = infer(sizes=[2, 6], batches=6, max_equal_labels=6, client_classes=3, rules=("min", "bias_corrected"))
    setting = LabelSetting((2, 6), 6, 3)
    distinct = [len(set(setting.batch(dataset, repetition).labels.tolist())) for repetition in range(6)]
    assert max(distinct) <= 3
    # Of labels that are equal the min rule finds one each.
    shares = next(cell.accuracies for cell in cells if (cell.rule, cell.batch_size) == ("min", 6))
    assert list(shares) == [count / 6 for count in distinct]
    notes = {cell.rule: cell.notes for cell in cells if cell.batch_size == 6}
    assert notes == {"min": "finds distinct labels only, and up to 6 in a batch may be equal", "bias_corrected": ""}


def test_without_auxiliary_images_rules_that_need_them_are_skipped(infer):
    (cell,) = infer(sizes=[2], batches=1, rules=("rlu",), auxiliary=0)
    assert (cell.skipped, cell.auxiliary) == ("needs auxiliary images, which are not granted", "")


def test_auxiliary_images_are_of_the_tuning_split_and_never_in_a_batch(dataset, monkeypatch):
    monkeypatch.setattr(setting_file, "PART", 5)  # so that the last part is not full: the RLU release drops it
    loaded = load_victim(SPEC, dataset)
    bench = Bench(dataset, loaded, LabelSetting((6,), rules=("rlu",), auxiliary=2))
    auxiliary, tuning = bench.auxiliary, dataset.split("tuning")
    assert auxiliary.labels.tolist() == [label for label in range(6) for _ in range(2)]
    chosen = [int(i) for label in range(6) for i in (tuning.labels == label).nonzero()[0][:2]]
    logits = loaded.module(normalise(tuning.images(chosen), loaded.mean, loaded.std))
    torch.testing.assert_close(auxiliary.responses.logits.float(), logits.detach(), rtol=1e-4, atol=1e-5)
    evaluation = dataset.split("evaluation")
    private = {evaluation.image_hash(i) for i in range(len(evaluation))}
    assert private.isdisjoint(tuning.image_hash(i) for i in chosen)
    assert auxiliary_images(dataset, loaded, 0) is None


def test_batches_of_few_classes_are_beginnings_of_each_other(dataset):
    large, small = (LabelSetting((size,), 4, 2).batch(dataset, 3) for size in (6, 3))
    assert large.indices[:3] == small.indices
    assert len(set(large.indices)) == 6
    assert len(set(large.labels.tolist())) == 2
    assert large.labels.bincount().max() <= 4


def test_a_rule_that_never_answers_is_skipped(infer, monkeypatch):
    def refuse(self, evidence):
        raise LabelInferenceError("no")

    monkeypatch.setattr(type(create_rule("min")), "estimate", refuse)
    assert {cell.skipped for cell in infer(batches=2, rules=("min",))} == {"no"}


def test_a_batch_larger_than_the_classes_is_refused_before_anything_is_trained(infer, tmp_path):
    with pytest.raises(LabelRequestError, match="batch size 8: 6 classes, none more than 1 times, give at most 6"):
        infer(VictimSpec(model="test_resnet", state="trained"), sizes=[1, 8])
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture
def gradinv(monkeypatch, capsys, make_dataset, tmp_path):
    """Runs `gradinv labels` on the images of `make_dataset` as a folder; returns status, stdout and stderr."""
    dataset = make_dataset(classes=4, size=32, train=4, held_out=4)
    for role, split in (("train", "train"), ("tuning", "test"), ("evaluation", "test")):
        images = dataset.split(role)
        for index, label in enumerate(images.labels):
            folder = tmp_path / "data" / "tiny" / split / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.pixels([index])[0]).save(folder / f"{role}{index}.png")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, data="tiny", model="test_resnet"):
        base = ["--dataset", data, "--model", model, "--out", tmp_path / "out", "--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["gradinv", "labels", *map(str, [*base, *arguments])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def test_the_command_writes_board_batches_and_figure(gradinv, tmp_path):
    sizes = ["--batch-size", 1, "--batch-size", 4, "--batches", 3]
    status, out, err = gradinv("--state", "untrained", "--state", "trained", "--epochs", 1, *sizes)
    assert (status, "Traceback" in err) == (0, False)
    files = {"labels.csv", "labels.batches.csv", "labels.png", "labels.pdf"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"chunks"}
    assert {Path(line).name for line in out.splitlines()[-4:]} == files
    rows = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    rules = len(rule_keys())
    assert len(rows) == 1 + 2 * 2 * rules
    assert sum(",test_resnet[epochs=1],trained," in row for row in rows) == 2 * rules
    assert len((tmp_path / "out" / "labels.batches.csv").read_text().splitlines()) > 1 + 3 * 8
    before = (tmp_path / "out" / "labels.csv").read_bytes()
    assert gradinv("--state", "untrained", "--state", "trained", "--epochs", 1, *sizes)[1] == out
    assert (tmp_path / "out" / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", 5], "batch size 5: 4 classes, none more than 1 times, give at most 4 labels"),
        (["--rule", "summ"], "did you mean sum"),
        (["--client-classes", 2], "give --max-equal-labels above 1"),
        (["--state", "warm"], "--state warm: Input should be 'untrained'"),
        (["--epochs", 3], "--epochs is for --state trained only"),
        (["--state", "pretrained", "--stem", "cifar"], "do not fit another stem"),
    ],
)
def test_wrong_requests_are_one_line(gradinv, tmp_path, arguments, message):
    status, out, err = gradinv(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("gradinv: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_names_come_with_the_nearest(gradinv):
    assert "did you mean tiny?" in gradinv(data="tinny")[2]
    assert "did you mean test_resnet" in gradinv("--batch-size", 2, model="test_resnt")[2]


@pytest.mark.parametrize("arguments", [["--batch-size", 0], ["--batches", 0], ["--state"]])
def test_usage_errors(gradinv, arguments):
    status, _, err = gradinv(*arguments)
    assert status == 2
    assert "Traceback" not in err
