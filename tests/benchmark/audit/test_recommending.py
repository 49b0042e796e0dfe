"""Which defenses of a run no other beats, what they cost, and which fall to who knows them."""

import pandas as pd

ROW = {"dataset": "photos", "image_size": 16, "victim": "lenet_dlg", "victim_state": "untrained", "victim_seed": 0}


def test_clipping_falls_to_who_knows_it_and_noise_is_dear(run_suite, write_suite, gradinv, tmp_path):
    threat = {"labels": "known", "bn_statistics": "none"}
    grids = [
        {"defenses": ["none", "clipping[max_norm=1]", "gaussian_noise[sigma=1]"]},
        {"defenses": ["clipping[max_norm=1]"], "threat_model": {**threat, "adaptive": True}},
    ]
    chosen = {
        "attacks": ["idlg"],
        "controls": ["mean_image"],
        "batches": 4,
        "budget": 200,
        "batch_sizes": [1],
        "image_size": 16,
    }
    run_suite(write_suite(grids=grids, threat_model=threat, metrics=["psnr"], **chosen))
    unpriced = gradinv("recommend", tmp_path / "run")
    assert unpriced.status == 0
    assert "What the defenses cost was not measured for all of them" in unpriced.out
    prices = {"none": 0.6, "clipping[max_norm=1.0]": 0.59, "gaussian_noise[sigma=1.0]": 0.12}
    rows = [
        {**ROW, "defense": defense, "accuracy_mean": mean, "accuracy_low": mean, "accuracy_high": mean}
        | {"upload_bytes": 100.0, "training": "five rounds", "notes": ""}
        for defense, mean in prices.items()
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "run" / "utility.csv", index=False)
    said = gradinv("recommend", tmp_path / "run").out
    assert "2 defenses of 2 to choose from" in said
    assert "gaussian_noise[sigma=1.0]: stops pixels" in said
    assert (
        "Price: accuracy 12.0 % [12.0, 12.0] after a short federated training, 60.0 % [60.0, 60.0] without it" in said
    )
    assert "It randomises: an attack made against just that may get more than these did." in said
    assert "clipping[max_norm=1.0] falls to an attacker who knows it: pixels" in said
    assert "gaussian_noise[sigma=1.0] falls" not in said
    assert said.index("clipping[max_norm=1.0]:") < said.index("gaussian_noise[sigma=1.0]:")  # by accuracy


def test_without_a_defense_there_is_nothing_to_choose(run_suite, write_suite, gradinv, tmp_path):
    run_suite(write_suite(attacks=["idlg"], controls=["mean_image"], batches=2, budget=20, batch_sizes=[1]))
    result = gradinv("recommend", tmp_path / "run")
    assert result.status == 2
    assert result.err == "gradinv: no victim was attacked both without a defense and with one: nothing to choose from\n"
