"""The leaderboard as LaTeX, to be pasted into a paper or read with `\\input`: a table a setting, or one a metric."""

import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gradinv.metrics.boards.leaderboard_table import leaderboard
from gradinv.metrics.boards.lines import BEST, BoardLine, lines_by_setting, metrics_measured, winners
from gradinv.metrics.images import facts_of
from gradinv.metrics.latex_text import PAGE_WIDTH, SEPARATION, escape, flat, points, stacked
from gradinv.metrics.leakage import FAMILY, badge, parted
from gradinv.metrics.records import LATER, Record, Setting, granted, slug, title, unusual, varying, wrap_key, write_text
from gradinv.metrics.registry import RequestError, unknown
from gradinv.metrics.typesetting import between, digits_of, first_to_last, fixed

_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$"}
_KEY_WIDTH, _WORDS_WIDTH = 24, 20  # characters on a line
_WIDE = "% Wider than a page: "
_LEGEND = (
    "Mean over n batches [95 % interval]. In italics: controls, which never see the true gradient. Gain: PSNR minus "
    "that of the best control, paired by batch; a respect (pixels: PSNR; structure; identity: the rank of the original "
    "among other photographs) leaks where the attack beats every control in it, after Holm's correction. "
    f"{BEST}"
)
_ACROSS_LEGEND = (
    "Mean over batches [95 % interval]; empty: not run, or not scored. In italics: controls, which never see the true "
    "gradient. A circle: nothing is shown to leak in the respect that the metric stands for (pixels, structure or "
    "identity; where it stands for none, in any). Columns were granted different things: compare within a column only. "
    f"{BEST}"
)
_NOT_SHOWN = r"$^{\circ}$"
# As many as fit the width of a page; the CSV has them all.
_SHOWN = ("psnr", "structure", "identity_lowpass", "lpips_vgg")
_GAIN = "psnr_gain"
_KEYS: Mapping[str, str] = {}
_Settings = Sequence[tuple[Setting, Sequence[BoardLine]]]


def write_latex(
    records: Sequence[Record],
    path: Path,
    metrics: Sequence[str] = (),
    names: Mapping[str, str] = _KEYS,
    *,
    across: bool = False,
) -> list[str]:
    """Write `latex_tables` of the records, or `latex_across`, to a file, whole or not at all.

    Returns a line for each table that is wider than a page.
    """
    text = (latex_across if across else latex_tables)(records, metrics, names)
    write_text(path, text)
    return [f"{path}: {line.removeprefix('% ')}" for line in text.splitlines() if line.startswith(_WIDE)]


def latex_tables(records: Sequence[Record], columns: Sequence[str] = (), names: Mapping[str, str] = _KEYS) -> str:
    """One `table*` for each setting with scored trials, after a comment that says what was run.

    Means over batches with their 95 % intervals. Controls stand below a rule, in italics. An attack is bold in a column
    only where it beats its controls, and every other attack of its setting by the paired comparison. `columns` are the
    metrics that have a column, in their order; without, a few that fit a page. `names` are keys with their names for
    display. RequestError for a column that was not measured. Needs `\\usepackage{booktabs}`.
    """
    settings = lines_by_setting(records, leaderboard(records), winners(records))
    distinguishing = varying(setting for setting, _ in settings)
    metrics, scored = _metrics(settings, columns), _scored(settings)
    labels = _labels([slug(setting, distinguishing) for setting, _ in scored])
    tables = [
        _table(label, _caption(setting, distinguishing, lines), lines, metrics, names)
        for label, (setting, lines) in zip(labels, scored, strict=True)
    ]
    return "\n".join([_header(records), *tables])


def latex_across(records: Sequence[Record], columns: Sequence[str] = (), names: Mapping[str, str] = _KEYS) -> str:
    """One `table*` for each metric, with a column for each setting with scored trials; else as `latex_tables`.

    Settings that a page has no room for follow in further tables.

    What leaks has no column here, so that every value of an attack that does not beat its controls is marked.
    """
    settings = lines_by_setting(records, leaderboard(records), winners(records))
    metrics, scored = _metrics(settings, columns), _scored(settings)
    tables = [table for name in metrics for table in _pages(name, scored, names)] if scored else []
    return "\n".join([_header(records), *tables])


def _pages(metric: str, settings: _Settings, names: Mapping[str, str]) -> Iterator[str]:
    """As few tables as have room for all settings, each for as many as it can take."""
    apart, first, page = _apart(settings), 0, 1
    while first < len(settings):
        tables = (_across(metric, settings[first:end], apart, page, names) for end in range(len(settings), first, -1))
        # One setting alone may be too wide, and has its table all the same.
        table, count = next(
            (table, count)
            for count, table in zip(range(len(settings) - first, 0, -1), tables, strict=True)
            if count == 1 or _WIDE not in table
        )
        yield table
        first, page = first + count, page + 1


def _metrics(settings: _Settings, columns: Sequence[str]) -> list[str]:
    """The metrics that are shown; RequestError for one that was not measured."""
    measured = metrics_measured([line for _, lines in settings for line in lines])
    for name in columns:
        if name not in measured:
            raise RequestError(f"--column {name}: {unknown('metric of these records', name, measured)}")
    return list(dict.fromkeys(columns)) or [name for name in measured if name in _SHOWN]


def _scored(settings: _Settings) -> _Settings:
    return [(setting, lines) for setting, lines in settings if any(line.is_scored for line in lines)]


def _header(records: Sequence[Record]) -> str:
    """What was run, as comments."""
    suites = sorted({record.suite for record in records})
    versions = sorted({f"{name} {number}" for record in records for name, number in record.versions.items()})
    days = first_to_last(record.date[:10] for record in records if record.date)
    comments = [
        "Made by `gradinv leaderboard --latex` from records alone; needs \\usepackage{booktabs}.",
        f"suites: {', '.join(suites)}; {len(records)} trials; {days}",
        f"devices: {', '.join(sorted({record.device for record in records}))}",
        f"versions: {', '.join(versions)}",
        "Rows of different settings were granted different things: never compare them.",
        "Reconstructions are matched to originals by the evaluator's oracle, for attacks and controls alike.",
    ]
    return "".join(f"% {flat(line)}\n" for line in comments)


def _labels(names: Sequence[str]) -> list[str]:
    """Labels that LaTeX takes, numbered where two would be the same."""
    # Slugs differ in characters that a label cannot hold, so that two may become one.
    plain = [re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") for name in names]
    count = [plain[: index + 1].count(name) for index, name in enumerate(plain)]
    return [name if number == 1 else f"{name}--{number}" for name, number in zip(plain, count, strict=True)]


def _table(
    label: str, caption: str, lines: Sequence[BoardLine], metrics: Sequence[str], names: Mapping[str, str]
) -> str:
    """One setting's table: attacks, a rule, controls."""
    attacks = [line for line in lines if line.is_scored and not line.cell.is_control]
    controls = [line for line in lines if line.is_scored and line.cell.is_control]
    body = [_row(line, metrics, names) for line in attacks]
    body += [r"\midrule"] * bool(attacks and controls) + [_row(line, metrics, names) for line in controls]
    return _framed(label, caption, f"lrr{'r@{ }l' * (len(metrics) + 1)}l", [_headings(metrics)], body, _LEGEND)


def _framed(label: str, caption: str, columns: str, headings: Sequence[str], body: Sequence[str], legend: str) -> str:
    width = points([*body, *headings], columns.count("@{ }"))
    remark = f"{_WIDE}some {width:.0f} pt, a page of two columns has {PAGE_WIDTH} to 516; take fewer of --column"
    text = [
        # As wide as the page, since beside an interval for every value a column of two has no room for much else.
        *([remark] if width > PAGE_WIDTH else []),
        r"\begin{table*}",
        rf"\centering\footnotesize\setlength{{\tabcolsep}}{{{SEPARATION}pt}}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:gradinv-{label}}}\par\smallskip",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        *headings,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize {escape(legend)}}}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(text)


def _across(metric: str, settings: _Settings, names_apart: Sequence[str], page: int, names: Mapping[str, str]) -> str:
    """One metric's table: a row an attack, a rule, a row a control; a column a setting."""
    placed = [{line.cell.key: line for line in lines if line.is_scored} for _, lines in settings]
    every = {key: line for lines in placed for key, line in lines.items()}
    rows: dict[bool, list[str]] = {False: [], True: []}
    for key, line in every.items():
        values = [_value_across(lines[key], metric) if key in lines else "&" for lines in placed]
        rows[line.cell.is_control].append(" & ".join([_name(line, names), *values]) + r" \\")
    body = rows[False] + [r"\midrule"] * all(rows.values()) + rows[True]
    # Of the first setting, because what does not vary is the same in all.
    first = settings[0][0]
    usual = {name for name in LATER if name not in unusual(first)} | {"granted_numbers_per_pixel"}
    shown = [name for name in first if name not in usual.union(names_apart)]
    shared = "; ".join(f"{name.replace('_', ' ')} {first[name]}" for name in shown)
    caption = f"{_heading(metric)} over settings that share: {escape(shared)}."
    return _framed(
        f"across-{metric.replace('_', '-')}" + (f"-{page}" if page > 1 else ""),
        caption,
        "l" + "r@{ }l" * len(settings),
        _headings_across(settings, names_apart),
        body,
        _ACROSS_LEGEND,
    )


def _apart(settings: _Settings) -> list[str]:
    """The names of what tells the settings apart."""
    # The granted numbers follow from the other columns.
    names = [name for name in settings[0][0] if name != "granted_numbers_per_pixel"]
    return [name for name in names if len({str(setting[name]) for setting, _ in settings}) > 1]


def _headings_across(settings: _Settings, names: Sequence[str]) -> list[str]:
    """A line of the heading for each name that tells the settings apart."""
    lines = []
    for name in names or ["batch_size"]:
        values = [wrap_key(str(setting[name]), _WORDS_WIDTH).split("\n") for setting, _ in settings]
        cells = [rf"\multicolumn{{2}}{{c}}{{{stacked([escape(line) for line in lines])}}}" for lines in values]
        lines.append(" & ".join([escape(name.replace("_", " ")), *cells]) + r" \\")
    return lines


def _value_across(line: BoardLine, metric: str) -> str:
    value = _value(line, metric, bold=metric in line.best_on)
    if line.cell.is_control or value == "&" or not line.works or _leaks(line, metric):
        return value
    mean, _, bounds = value.partition(" & ")
    return f"{mean}{_NOT_SHOWN} & {bounds}"


def _leaks(line: BoardLine, metric: str) -> bool:
    """Whether the attack beats its controls in the respect that the metric stands for; in any, where for none."""
    leaking = parted(line.row["leaks"]) or ()
    respects = [respect for respect, measures in FAMILY.items() if measures(metric)]
    return bool(set(leaking) & set(respects)) if respects else bool(leaking)


def _caption(setting: Setting, distinguishing: Sequence[str], lines: Sequence[BoardLine]) -> str:
    budget = "" if "budget" in distinguishing else f"; budget {setting['budget']}"
    unscored = [f"{line.cell.key} ({line.reason})" for line in lines if not line.is_scored and not line.cell.is_control]
    words = f"{title(setting, distinguishing)}{budget}; {granted(setting)}."
    return escape(words + f" Not scored: {'; '.join(unscored)}." * bool(unscored))


def _headings(metrics: Sequence[str]) -> str:
    cells = ["attack", "$B$", "$n$"]
    cells += [rf"\multicolumn{{2}}{{c}}{{{_heading(name)}}}" for name in metrics]
    cells += [rf"\multicolumn{{2}}{{c}}{{gain (dB) {_ARROWS['higher']}}}", "what leaks"]
    return " & ".join(cells) + r" \\"


def _heading(metric: str) -> str:
    facts = facts_of(metric)
    return escape(metric) if facts is None else f"{escape(facts.heading)} {_ARROWS[facts.direction]}"


def _row(line: BoardLine, metrics: Sequence[str], names: Mapping[str, str]) -> str:
    row, is_control = line.row, line.cell.is_control
    # Means and intervals are columns of their own: so the means align, however wide their intervals are.
    cells = [_name(line, names), str(row["batch_size"]), str(row["n_batches"])]
    cells += [_value(line, name, bold=name in line.best_on) for name in metrics]
    cells += [_value(line, _GAIN), "" if is_control else _words(badge(line.row))]
    # Counts are all of a control's cells that are not yet in italics.
    return " & ".join(rf"\textit{{{cell}}}" if is_control and cell.isdecimal() else cell for cell in cells) + r" \\"


def _name(line: BoardLine, names: Mapping[str, str]) -> str:
    """The name for display, else the key, a control's in italics; on several lines where it is long."""
    cell = line.cell
    if cell.key in names:
        return stacked([escape(names[cell.key])])
    if cell.is_control and cell.preset in names:
        return rf"\textit{{{escape(f'{cell.attack} of {names[cell.preset]}')}}}"
    style = "textit" if cell.is_control else "texttt"
    if cell.is_control and cell.preset and len(cell.key) > _KEY_WIDTH:
        lines = [f"{cell.attack} of", *wrap_key(cell.preset, _KEY_WIDTH).split("\n")]
    else:
        lines = [cell.key] if cell.is_control else wrap_key(cell.key, _KEY_WIDTH).split("\n")
    return stacked([rf"\{style}{{{escape(part)}}}" for part in lines])


def _words(text: str) -> str:
    """Words on as many short lines as they take."""
    return stacked([escape(line) for line in textwrap.wrap(text, _WORDS_WIDTH)] or [""])


def _value(line: BoardLine, name: str, *, bold: bool = False) -> str:
    """Mean and interval in two columns; both empty where nothing was measured."""
    mean, low, high = line.interval(name)
    if math.isnan(mean):
        return "&"
    digits = digits_of(name)
    # A hyphen is no minus; in mathematics it is.
    number, bounds = (text.replace("-", "$-$") for text in (fixed(mean, digits), between(low, high, digits)))
    style = "textbf" if bold else "textit" if line.cell.is_control else ""
    shown = rf"\{style}{{{number}}}" if style else number
    return f"{shown} & " + (rf"{{\tiny {bounds}}}" if bounds else "")
