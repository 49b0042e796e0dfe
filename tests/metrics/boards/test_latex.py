"""The LaTeX tables are well formed, say what the board says, and are bold only where a comparison proves it."""

import math
import re

import pytest

from gradinv.metrics.boards.latex import latex_across, latex_tables, write_latex
from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.latex_text import escape, points, stacked
from gradinv.metrics.leakage import badge
from gradinv.metrics.registry import RequestError
from gradinv.metrics.typesetting import digits_of, fixed

HOSTILE = r"evil_\end{document}$%&#^~{}" + "\n\\input{x}"


@pytest.fixture
def rivals(make_record):
    """Two attacks over ten batches, `dlg` 5 dB better in each, and a control."""
    good = [make_record("dlg", r, (20.0 + r % 3, 21.0), order=1) for r in range(10)]
    bad = [make_record("idlg", r, (15.0 + r % 3, 16.0 + r % 2 / 9), order=2) for r in range(10)]
    control = [make_record("mean_image", r, (9.0, 9.0 + r % 2), is_control=True, order=3) for r in range(10)]
    return good + bad + control


def structure(text):
    """The environments of a LaTeX text as (name, depth); AssertionError where braces or environments do not match."""
    bare = re.sub(r"(?m)(?<!\\)%.*$", "", text)
    depth, environments, stack = 0, [], []
    for token in re.finditer(r"\\begin\{(\w+\*?)\}|\\end\{(\w+\*?)\}|\\.|[{}]", bare):
        if token[1]:
            environments.append((token[1], len(stack)))
            stack.append(token[1])
        elif token[2]:
            assert stack.pop() == token[2]
        else:
            depth += {"{": 1, "}": -1}.get(token[0], 0)
            assert depth >= 0
    assert depth == 0
    assert stack == []
    return environments


def framed(text):
    """The environments without those of cells with several lines."""
    return [(name, depth) for name, depth in structure(text) if depth < 2]


def body(text):
    """The rows of all tables, each as its cells."""
    lines = [
        line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r" \\") and "multicolumn" not in line
    ]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def plain(cell):
    """A cell without its markup, its lines behind each other."""
    cell = re.sub(r"\\(begin|end)\{tabular\}(\[t\]\{@\{\}l@\{\}\})?", "", cell).replace(r"\\", " ")
    return re.sub(r"\\(textbf|textit|texttt|tiny)|[{}$]", "", cell).replace("\\_", "_").strip()


def test_braces_environments_and_columns_match(records):
    text = latex_tables(records)
    assert framed(text) == [("table*", 0), ("tabular", 1)]
    columns = re.search(r"tabular\}\{@\{\}(.*?)l@\{\}\}", text)[1].replace("@{ }", "")
    assert {len(row) for row in body(text)} == {len(columns) + 1}


def test_numbers_are_those_of_the_board(records):
    board = leaderboard(records).query("n_batches > 0")
    rows = {plain(row[0]): [plain(cell) for cell in row] for row in body(latex_tables(records))}
    assert len(rows) == len(board)
    for _, row in board.iterrows():
        key = f"{row['attack']} of {row['preset']}" if row["is_control"] == "true" and row["preset"] else row["attack"]
        shown = rows[key]
        assert shown[1:3] == [str(row["batch_size"]), str(row["n_batches"])]
        for column, name in ((3, "psnr"), (5, "psnr_gain")):
            mean, low, high = (fixed(row[f"{name}_{part}"], digits_of(name)) for part in ("mean", "low", "high"))
            assert shown[column : column + 2] == [mean, f"[{low}, {high}]" if low else ""]
        assert shown[-1] == ("" if row["is_control"] == "true" else badge(row))


def test_controls_stand_below_a_rule_in_italics(records):
    text = latex_tables(records)
    above, below = text.split(r"\midrule")[1:]
    assert "textit" not in above
    rows = [line for line in below.splitlines() if line.endswith(r"\\")]
    assert [line.startswith(r"\textit{") for line in rows] == [True, True]


def test_bold_is_what_beats_every_other_attack_by_the_paired_comparison(rivals):
    rows = {plain(row[0]): row for row in body(latex_tables(rivals))}
    assert rows["dlg"][3] == r"\textbf{20.9}"
    assert "textbf" not in "".join(rows["idlg"] + rows["mean_image"])


def test_nothing_is_bold_that_does_not_beat_its_controls(rivals, make_record):
    better = [make_record("same_class", r, (30.0 + r % 2, 31.0), is_control=True, order=3) for r in range(10)]
    assert r"\textbf" not in latex_tables([*rivals, *better])


def test_columns_and_names_are_those_that_are_asked_for(rivals):
    text = latex_tables(rivals, ["gmsd", "psnr"], {"dlg": "DLG & co"})
    headings = next(line for line in text.splitlines() if "multicolumn" in line)
    assert re.findall(r"\{c\}\{(\w+)", headings) == ["GMSD", "PSNR", "gain"]
    assert any(row[0] == r"DLG \& co" for row in body(text))
    with pytest.raises(RequestError, match=r"--column psrn.*did you mean psnr"):
        latex_tables(rivals, ["psrn"])


def test_nothing_is_bold_for_higher_means_alone(rivals, make_record):
    few = [record for record in rivals if record.repetition < 7]
    assert r"\textbf" not in latex_tables(few)
    noisy = [make_record("third", r, (20.0 + 3 * (-1) ** r,), order=4) for r in range(10)]
    assert r"\textbf" not in latex_tables([*rivals, *noisy])
    alone = [record for record in rivals if record.cell.attack != "idlg"]
    assert r"\textbf" not in latex_tables(alone)


def test_lpips_has_a_column_where_it_is_measured(make_record):
    record = make_record("dlg", 0, (9.0,))
    measured = record.images[0].model_copy(update={"metrics": {"psnr": 9.0, "lpips_vgg": 0.25}})
    assert "LPIPS (VGG-16) $\\downarrow$" in latex_tables([record.model_copy(update={"images": [measured]})])
    assert "LPIPS" not in latex_tables([record])


def test_skipped_attacks_stand_in_the_caption_and_settings_apart(records, make_record):
    smaller = make_record("dlg", 0, (9.0,), batch_size=1, order=90)
    text = latex_tables([*records, smaller])
    assert framed(text) == [("table*", 0), ("tabular", 1)] * 2
    assert "Not scored: idlg.bn (skipped: idlg.bn needs batch-norm statistics, none are granted)." in text
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == 2
    assert all(re.fullmatch(r"tab:gradinv-[\w.-]+", label) for label in labels)


def test_a_coarser_precision_is_a_table_of_its_own_that_says_so(records, make_record):
    text = latex_tables([*records, make_record("dlg", 0, (9.0,), precision="tf32", order=90)])
    usual, coarse = re.findall(r"\\caption\{(.*)\}", text)
    assert "precision" not in usual
    assert "precision tf32" in coarse
    assert [label.endswith("precision-tf32") for label in re.findall(r"\\label\{(.*?)\}", text)] == [False, True]


def across(make_record, level, order=4):
    """Both attacks and the control of `rivals` at another strength of a defense, the attacks `level` dB better."""
    setting = {"defense": f"noise[sigma={level}]"}
    good = [make_record("dlg", r, (level + r % 3, level + 1), order=order, **setting) for r in range(10)]
    setting |= {"is_control": True, "order": order + 1}
    return good + [make_record("mean_image", r, (9.0, 9.0 + r % 2), **setting) for r in range(10)]


def test_across_settings_each_has_a_column_with_the_values_of_its_own_table(rivals, make_record):
    records = [*rivals, *across(make_record, 14.0), *across(make_record, 5.0, order=6)]
    text = latex_across(records, ["psnr"])
    assert structure(text) == [("table*", 0), ("tabular", 1)]
    headings = next(line for line in text.splitlines() if line.startswith("defense"))
    assert re.findall(r"\{c\}\{(.*?)\}", headings) == ["none", "noise[sigma=14.0]", "noise[sigma=5.0]"]
    rows = {plain(row[0]): row[1:] for row in body(text) if not row[0].startswith("defense")}
    for place, setting in enumerate(("none", "noise[sigma=14.0]", "noise[sigma=5.0]")):
        alone = latex_tables([record for record in records if record.cell.defense == setting], ["psnr"])
        for key, *cells in body(alone):
            mean, bounds = rows[plain(key)][2 * place : 2 * place + 2]
            assert [mean.removesuffix(r"$^{\circ}$"), bounds] == cells[2:4]
    assert rows["idlg"][2:] == [""] * 4  # not run there


def test_across_settings_what_does_not_beat_its_controls_is_marked_and_never_bold(rivals, make_record):
    text = latex_across([*rivals, *across(make_record, 5.0)], ["psnr"])
    rows = {plain(row[0]): row[1:] for row in body(text)}
    assert [r"^{\circ}" in rows["dlg"][place] for place in (0, 2)] == [False, True]
    assert [r"\textbf" in rows["dlg"][place] for place in (0, 2)] == [True, False]
    assert r"\circ" not in "".join(rows["mean_image"])


def test_hostile_names_print_and_run_nothing(make_record):
    record = make_record(HOSTILE, 0, (9.0,), victim=HOSTILE, suite=HOSTILE, versions={HOSTILE: "1"})
    lost = make_record("idlg", 0, state="failed", reason=HOSTILE, victim=HOSTILE, order=5)
    text = latex_tables([record, lost])
    assert structure(text)[:3] == [("table*", 0), ("tabular", 1), ("tabular", 2)]
    outside = re.sub(r"(?m)^%.*$", "", text)
    assert not re.search(r"\\input|\\end\{document\}|(?<!\\)[#^~%]", outside)
    assert all(line.startswith("%") for line in text.partition("\n\n")[0].splitlines())


def test_long_keys_stand_on_several_lines(make_record):
    long = "[agents=4,alpha_bn=0.001,alpha_group=0.001]"
    attack = make_record("gradinversion", 0, (9.0,), parameters=long)
    control = make_record("prior_only", 0, (8.0,), preset=attack.cell.key, is_control=True, order=1)
    text = latex_tables([attack, control])
    assert structure(text) == [("table*", 0), ("tabular", 1), ("tabular", 2), ("tabular", 2)]
    first, second = (row[0] for row in body(text))
    assert first.startswith(r"\begin{tabular}[t]{@{}l@{}}\texttt{gradinversion[agents=4,}\\\texttt{alpha\_bn")
    assert second.startswith(
        r"\begin{tabular}[t]{@{}l@{}}\textit{prior\_only of}\\\textit{gradinversion[agents=4,}\\\textit{"
    )


def test_escapes_every_special_character():
    assert escape(r"a_b\c{d}") == r"a\_b\textbackslash{}c\{d\}"
    assert escape("1 %\n& #$^~") == r"1 \% \& \#\$\textasciicircum{}\textasciitilde{}"


def test_the_file_says_what_was_run_and_is_the_same_every_time(tmp_path, records):
    path = tmp_path / "new" / "board.tex"
    write_latex(records, path)
    text = path.read_text(encoding="utf-8")
    assert text == latex_tables(list(reversed(records)))
    assert "% suites: quick; 15 trials; 2025-11-22\n" in text
    assert "% versions: numpy 2.4.6, torch 2.9.0\n" in text
    assert [file.name for file in path.parent.iterdir()] == ["board.tex"]


def test_no_scored_trial_makes_no_table(make_record):
    assert structure(latex_tables([make_record("dlg", 0, state="failed")])) == []


def test_an_exact_image_counts_as_100_dB(make_record):
    assert "& 100.0 &" in latex_tables([make_record("dlg", 0, (math.inf,))])


def test_rows_are_as_wide_as_latex_makes_them():
    """What pdflatex made of them: 223.9 points, in `article` of ten points."""
    heading = r"attack & $B$ & $n$ & \multicolumn{2}{c}{PSNR (dB) $\uparrow$} \\"
    row = r"\textit{noise\_gradient of gradinversion.no\_bn} & 1 & 2 & 22.7 & {\tiny [20.3, 25.0]} \\"
    assert points([heading, row], 1) == pytest.approx(223.9, rel=0.05)
    assert points([heading, row.replace("of grad", r"of\\grad")], 1) < points([heading, row], 1)


def test_a_table_that_no_page_has_room_for_says_so(tmp_path, make_record, records):
    assert write_latex(records, tmp_path / "board.tex") == []
    many = [record.model_copy(deep=True) for record in records]
    for record in many:
        for image in record.images:
            image.metrics.update({f"measure_{place}_of_{'x' * 20}": 0.5 for place in range(8)})
    columns = [f"measure_{place}_of_{'x' * 20}" for place in range(8)]
    (remark,) = write_latex(many, tmp_path / "wide.tex", columns)
    assert remark.startswith(f"{tmp_path / 'wide.tex'}: Wider than a page: some ")


def test_settings_that_a_page_has_no_room_for_follow_in_further_tables(make_record):
    records = [
        make_record("dlg", r, (9.0 + r,), defense=f"gaussian_noise[sigma={place}]", order=place)
        for place in range(9)
        for r in range(2)
    ]
    text = latex_across(records, ["psnr"])
    tables = text.split(r"\begin{table*}")[1:]
    assert len(tables) == 2
    assert "Wider" not in text
    assert re.findall(r"label\{tab:(.*?)\}", text) == ["gradinv-across-psnr", "gradinv-across-psnr-2"]
    # Every setting once, in its place; and no column is lost at the turn of the page.
    assert re.findall(r"sigma=(\d)\]", text) == list("012345678")
    for table in tables:
        rows = [row for row in body(table) if not row[0].startswith("defense")]
        assert {len(row) for row in rows} == {1 + 2 * table.count("gaussian")}


def test_a_bracket_at_the_beginning_of_a_row_is_no_argument(rivals):
    """After the end of a line LaTeX takes [ and * for arguments: of a name for display, and of a broken key."""
    text = latex_tables(rivals, names={"dlg": "[Ours]", "idlg": "*best"})
    assert not re.search(r"\\\\\s*[\[*]|rule\s*[\[*]", text)
    assert "{}[Ours] & " in text
    assert stacked(["noise", "[a=1]"]).endswith(r"noise\\{}[a=1]\end{tabular}")
