"""The HTML report: well formed, closed in itself, true to the board, safe against names, the same every time."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from safetensors.numpy import load_file

from gradinv.metrics.boards.leaderboard_table import leaderboard, write_board
from gradinv.metrics.boards.lines import lines_by_setting
from gradinv.metrics.report.folders import ReportError
from gradinv.metrics.report.pages import Rerun, environment, page_name
from gradinv.metrics.report.site import Extras, breakable, write_html

VOID = {"meta", "link", "img", "input", "br", "wbr"}
HOSTILE = """<script>alert(1)</script>"'&amp;../%2e"""


class Page(HTMLParser):
    """A parsed page: its elements as (tag, attributes), its links, its text; AssertionError where tags do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.stack, self.elements, self.words = path, [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (self.path, self.getpos(), attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, (self.path, self.getpos())

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        """All text, white space as one blank."""
        return " ".join("".join(self.words).split())

    def named(self, tag):
        """The attributes of all elements of that name."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self):
        """Every address that the page names."""
        pairs = [pair for _, attributes in self.elements for pair in attributes.items()]
        return [value for name, value in pairs if name in ("href", "src")]


def pages_of(directory):
    """Every page of a report by its path."""
    return {str(path.relative_to(directory)): Page(path) for path in sorted(directory.rglob("*.html"))}


def cells_of(index):
    """Row by row, the `data-sort` of each column of the first page."""
    rows = []
    for tag, attributes in index.elements:
        if tag == "tr" and attributes.get("class", "").split()[:1] in (["attack"], ["control"]):
            rows.append({"class": attributes["class"]})
        elif rows and tag in ("td", "th") and "data-sort" in attributes:
            rows[-1][attributes["data-column"]] = attributes["data-sort"]
    return rows


@pytest.fixture
def report(tmp_path, records, write_run):
    """The folder of the report of `records`, with pictures and what runs its rows again."""
    run = write_run(tmp_path / "run", records)

    def rerun(name, trials, controls):
        return Rerun(f"name: {name}\ncontrols: {controls}\n", ("--device cpu",))

    write_html(records, tmp_path / "report", Extras([run], {"mean_image": "the mean of all <images>"}, rerun))
    return tmp_path / "report"


@pytest.fixture
def pages(report):
    """Its pages by path."""
    return pages_of(report)


def test_every_page_is_well_formed_and_every_row_has_one(pages, records):
    assert set(pages) == {"index.html"} | {f"rows/{page_name(cell)}.html" for cell in {r.cell for r in records}}
    for page in pages.values():
        assert page.elements[0] == ("html", {"lang": "en"})
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert len(page.named("h1")) == 1


def test_every_link_leads_into_the_folder_and_nothing_out_of_it(report, pages):
    for page in pages.values():
        for link in page.links:
            if link.startswith("#"):
                assert link[1:] in [attributes.get("id") for _, attributes in page.elements]
            elif link != "data:,":
                target = (page.path.parent / link).resolve()
                assert target.is_file(), link
                assert target.is_relative_to(report)
    for path in report.rglob("*.*"):
        if path.suffix in (".html", ".css", ".js"):
            assert not re.search(r"https?://|//\w+\.|url\(|@import", path.read_text(encoding="utf-8")), path


def test_numbers_are_those_of_the_board(pages, records):
    rows, board = cells_of(pages["index.html"]), leaderboard(records)
    order = ["dlg", "other_gradient of dlg", "idlg", "idlg.bn", "mean_image"]
    assert [row["name"] for row in rows] == order
    for row in rows:
        attack, _, preset = row["name"].replace(".", " of ").partition(" of ")
        (expected,) = board[(board["attack"] == attack) & (board["preset"] == preset)].to_dict("records")
        if not expected["n_batches"]:
            assert set(row) == {"class", "name", "verdict"}
            continue
        columns = {"psnr": "psnr_mean", "ssim": "ssim_mean", "gmsd": "gmsd_mean", "gain": "psnr_gain_mean",
                   "evaluations": "evaluations", "seconds": "seconds_mean", "n_batches": "n_batches"}  # fmt: skip
        for column, source in columns.items():
            value = float(expected[source])
            assert row[column] == ("" if math.isnan(value) else repr(value))
        assert row["verdict"] == {"": "", "none": "no"}.get(expected["leaks"], "yes")


def test_means_stand_with_their_interval_unit_and_direction(pages):
    assert "22.5 [21.3, 23.7]" in pages["index.html"].text
    assert "10.5 [9.3, 11.7]" in pages["index.html"].text
    assert "PSNR (dB) ↑ higher is better" in pages["index.html"].text.replace("\xa0", " ")
    assert "GMSD ↓ lower is better" in pages["index.html"].text.replace("\xa0", " ")


def test_the_first_page_says_what_the_numbers_are(pages):
    for words in ("means over private batches", "evaluator's oracle", "A control never sees the true gradient",
                  "the mean of all <images>", "never compare rows of different settings"):  # fmt: skip
        assert words in pages["index.html"].text


def test_controls_are_marked_everywhere(pages):
    rows = cells_of(pages["index.html"])
    assert [row["class"] for row in rows] == ["attack", "control", "attack", "attack unscored", "control"]
    assert pages["index.html"].text.count("control ") >= 2
    (dlg,) = [page for name, page in pages.items() if name.startswith("rows/dlg")]
    assert [attributes.get("class") for attributes in dlg.named("tr")].count("control") == 2 + 2  # numbers, pictures
    (grey,) = [page for name, page in pages.items() if name.startswith("rows/mean")]
    assert "This is a control: it never sees the true gradient. It is the mean of all <images>." in grey.text


def test_a_skipped_row_says_why_on_both_pages(pages):
    reason = "skipped: idlg.bn needs batch-norm statistics, none are granted"
    (page,) = [page for name, page in pages.items() if name.startswith("rows/idlg-bn")]
    assert reason in pages["index.html"].text
    assert reason in page.text
    assert page.named("img") == []


def test_a_page_holds_threat_model_trials_command_and_environment(report, pages):
    (name,) = [name for name in pages if name.startswith("rows/dlg")]
    text = pages[name].text
    assert "client sends: gradient in eval mode; granted: labels known, batch-norm statistics none" in text
    assert "Pixels leak, from the gradient; structure and identity were not looked at." in text
    assert "Gains over the best control: pixels 10.5 dB [9.3, 11.7] over mean_image." in text
    assert "numpy 2.4.6, torch 2.9.0" in text
    assert "alignments" not in text
    slug = Path(name).stem
    assert f"gradinv run {slug}.yaml --device cpu --out runs/{slug}" in text
    suite = (report / "rows" / f"{slug}.yaml").read_text(encoding="utf-8")
    assert suite == f"name: {slug}\ncontrols: ['other_gradient', 'mean_image']\n"


def test_what_a_client_and_its_attack_were_like_stands_in_the_environment(make_record):
    shares, counts = (0.0, 0.031, None), ({"accepted": 5}, {"accepted": 6, "overlap": 1}, {})
    records = [
        make_record("dlg", r, (9.0,), zero_gradient_share=share, alignments=count)
        for r, (share, count) in enumerate(zip(shares, counts, strict=True))
    ]
    ((_, (line,)),) = lines_by_setting(records, leaderboard(records))
    facts = dict(environment(line))
    assert facts["parameters whose gradient is zero"] == "at most 3.1 %"
    assert facts["alignments of the agents' images"] == "11 accepted, 1 overlap"


def test_pictures_are_the_tensors_and_carry_words(tmp_path, report, pages, records):
    (page,) = [page for name, page in pages.items() if name.startswith("rows/dlg")]
    images = page.named("img")
    assert len(images) == 4 * 6  # originals, the attack, two controls
    assert all(attributes["alt"] for attributes in images)
    first = (page.path.parent / images[6]["src"]).resolve()
    tensors = load_file(tmp_path / "run" / "trials" / records[0].id / "tensors.safetensors")
    shown = (imread(first)[..., :3] * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(shown, tensors["reconstruction"][0].transpose(1, 2, 0))


def test_a_report_without_pictures_says_so(tmp_path, records):
    write_html(records, tmp_path / "report")
    pages = pages_of(tmp_path / "report")
    (page,) = [page for name, page in pages.items() if name.startswith("rows/dlg")]
    assert page.named("img") == []
    assert "20.0 dB, 0.40, not on disk" in page.text
    assert "The records do not hold the specification" in page.text


def test_agents_show_their_consensus_and_spread(tmp_path, make_record):
    record = make_record("gradinversion", 0, (9.0,))
    details = {"consensus_psnr": 12.25, "agent_spread": 0.125}
    agreed = record.model_copy(update={"images": [record.images[0].model_copy(update={"details": details})]})
    write_html([agreed], tmp_path / "report")
    (page,) = [page for name, page in pages_of(tmp_path / "report").items() if name != "index.html"]
    for words in ("consensus of its agents", "12.2 dB", "spread of its agents, times 4", "0.125"):
        assert words in page.text


def test_hostile_names_are_text_and_no_paths(tmp_path, make_record):
    changes = {"victim": HOSTILE, "suite": HOSTILE, "versions": {HOSTILE: HOSTILE}, "notes": [HOSTILE]}
    done = make_record(HOSTILE, 0, (9.0,), preset=HOSTILE, **changes)
    lost = make_record("idlg", 0, victim=HOSTILE, state="failed", reason=HOSTILE, order=3)
    control = make_record(HOSTILE, 0, (3.0,), preset=done.cell.key, is_control=True, order=2, **changes)
    write_html([done, lost, control], tmp_path / "report", Extras(meanings={HOSTILE: HOSTILE}))
    pages = pages_of(tmp_path / "report")
    assert len(pages) == 4
    for page in pages.values():
        sources = [attributes.get("src") for attributes in page.named("script")]
        assert sources == ["table.js"] * (page.path.name == "index.html")
        assert HOSTILE in page.text
    assert {path.parent.name for path in tmp_path.rglob("*.html")} == {"report", "rows"}
    assert not list(tmp_path.rglob("*.yaml"))
    assert cells_of(pages["index.html"])[0]["name"] == done.cell.key


def test_the_same_records_give_the_same_bytes(tmp_path, records, write_run):
    extras = Extras([write_run(tmp_path / "run", records)])
    write_html(records, tmp_path / "a", extras)
    write_html(list(reversed(records)), tmp_path / "b", extras)
    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert first == second
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "run"}


def test_the_boards_lie_beside_the_pages(tmp_path, report, records):
    write_board(records, tmp_path / "leaderboard.csv")
    for path in tmp_path.glob("leaderboard*"):
        assert (report / path.name).read_bytes() == path.read_bytes()


def test_an_older_report_is_replaced_whole(tmp_path, records):
    write_html(records, tmp_path / "report")
    write_html(records[:3], tmp_path / "report")
    assert len(pages_of(tmp_path / "report")) == 2


def test_a_link_to_a_folder_stays_one(tmp_path, records):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for _ in range(2):
        write_html(records, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").is_file()


@pytest.mark.parametrize("name", ["thesis.tex", "index.html"])
def test_nothing_but_a_report_is_replaced(tmp_path, records, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ReportError, match="holds other files than a report of gradinv"):
        write_html(records, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_report_with_other_files_in_it_is_left_alone(tmp_path, report, records):
    (report / "notes.txt").write_text("mine")
    with pytest.raises(ReportError):
        write_html(records, report)
    assert (report / "notes.txt").read_text() == "mine"


def test_a_file_is_no_folder(tmp_path, records):
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="is no folder"):
        write_html(records, tmp_path / "file")


def test_keys_break_where_their_parts_begin_and_stay_escaped():
    assert breakable("gradinversion.no_bn[l_r=0.1,b=2]") == "gradinversion<wbr>.no_<wbr>bn<wbr>[l_r=0.1,<wbr>b=2]"
    assert breakable("a_<b>") == "a_<wbr>&lt;b&gt;"


def test_the_page_can_be_used_without_sight_mouse_or_script(pages):
    index = pages["index.html"]
    (form,) = index.named("form")
    assert "hidden" in form  # only the script shows what only the script can do
    assert all("scope" in attributes for attributes in index.named("th"))
    assert len(index.named("caption")) == len(index.named("table"))
    regions = [attributes for attributes in index.named("div") if attributes.get("class") == "scroll"]
    assert all(attributes["tabindex"] == "0" and attributes["role"] == "region" for attributes in regions)
    assert index.named("a")[0] == {"class": "skip", "href": "#main"}
