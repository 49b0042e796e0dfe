"""The findings of an audit in sentences, for its page and for the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.benchmark.audit.findings import NONE, AuditFindings, DefenseFinding
from gradinv.metrics.boards import BoardLine
from gradinv.metrics.leakage import FAMILY
from gradinv.metrics.report import AuditPage, AuditRow
from gradinv.metrics.typesetting import between, counted, fixed, percent

_FROM_EITHER = "from the update or the batch-norm statistics, and it is not shown which"
_FROM = {"from_gradient": "from the update", "from_statistics": "from the batch-norm statistics"}


def page_of(findings: AuditFindings) -> AuditPage:
    """The page of an audit."""
    return AuditPage(
        title=f"Audit of {Path(findings.request.inputs.model).name}",
        facts=list(_facts(findings)),
        sentences=list(_sentences(findings)),
        rows=[_row(finding, findings.labels) for finding in findings.defenses],
        rules=_rules(findings.labels),
        limits=list(limits(findings)),
        shown=list(findings.undefended.lines),
    )


def _facts(findings: AuditFindings) -> Iterator[str]:
    request, dataset, victim = findings.request, findings.dataset, findings.victim
    parameters = sum(parameter.numel() for parameter in victim.module.parameters())
    # What it predicts itself it always gets right.
    share = None if request.inputs.labels_are_predicted else victim.accuracy
    accuracy = "" if share is None else f", {percent(share)} of its tuning images right"
    yield f"network: {request.inputs.model}, {parameters:,} parameters, {victim.source or 'as it is made'}{accuracy}"
    held = ", ".join(f"{len(dataset.split(role)):,} {role}" for role in ("train", "tuning", "evaluation"))
    yield f"images: {request.inputs.data} at {dataset.image_size} px, {len(dataset.classes)} classes ({held})"
    yield from (f"images: {change}" for change in dataset.split("evaluation").changes)
    if request.inputs.labels_are_predicted:
        yield "labels: what the network takes each image for, as the folder has no classes"
    sizes = listed([counted(size, "image") for size in request.batch_sizes])
    threat = findings.threat_model
    yield (
        f"sent: {threat.update} of {sizes}; the attacker knows the network and is granted: labels {threat.labels}, "
        f"batch-norm statistics {threat.bn_statistics}"
    )
    images = {image.image for record in findings.records for image in record.images}
    missing = len(findings.design.plan.trials) - len(findings.records)
    yield (
        f"{len(findings.records):,} trials of {findings.design.plan.suite.blocks[0].budget:,} evaluations at most"
        f"{f', {missing:,} more not run for want of time' if missing else ''}; {counted(len(images), 'image')} attacked"
    )


def _sentences(findings: AuditFindings) -> Iterator[str]:
    undefended = findings.undefended
    yield f"Without a defense: {what_leaks(undefended)}."
    yield from _label_sentences(_under(findings.labels, NONE))
    for finding in findings.defenses[1:]:
        labels = labels_under(finding.defense, findings.labels)
        yield f"{finding.defense}: {what_stops(finding, undefended)}. {labels} {price_in_words(finding, undefended)}"


def what_leaks(finding: DefenseFinding) -> str:
    """What leaks with one defense, by which attack, from where."""
    if not finding.is_tested:
        return "too few batches were run to say what leaks"
    shown = {words: finding.shown_by(column) for column, words in _FROM.items()}
    clauses = [
        f"{leaking(respects)} {words} ({_who(line)})"
        for words, by_respect in {**shown, _FROM_EITHER: finding.unattributed}.items()
        for line, respects in _by_line(by_respect)
    ]
    if not clauses:
        return f"none of {counted(len(finding.lines), 'attack')} did better than its controls"
    rest = [respect for respect in FAMILY if respect not in finding.leaks]
    return "; ".join([*clauses, *([f"{listed(rest)} not shown to leak"] if rest else [])])


def _by_line(shown: Mapping[str, BoardLine]) -> list[tuple[BoardLine, list[str]]]:
    """The attacks with the respects that each shows."""
    groups: list[tuple[BoardLine, list[str]]] = []
    for respect, line in shown.items():
        group = next((respects for other, respects in groups if other is line), None)
        if group is None:
            groups.append((line, [respect]))
        else:
            group.append(respect)
    return groups


def _who(line: BoardLine) -> str:
    """The attack, and its PSNR beside that of its best control."""
    knows = ", who knows the defense" if line.cell.adaptive else ""
    size = f" at batch size {line.cell.batch_size}" if line.cell.batch_size > 1 else ""
    mean, gain = line.number("psnr_mean"), line.number("psnr_gain_mean")
    if math.isnan(mean) or math.isnan(gain):
        return f"{line.cell.key}{size}{knows}"
    return f"{line.cell.key}{size}{knows}: {fixed(mean, 1)} dB, its best control {fixed(mean - gain, 1)} dB"


def what_stops(finding: DefenseFinding, undefended: DefenseFinding) -> str:
    """What of that which leaked without it a defense stops."""
    if not undefended.is_tested or not finding.is_tested:
        return "too few batches were run to say what it stops"
    if not undefended.leaks:
        return "nothing leaked without it, so that nothing is known of it"
    stopped = [respect for respect in undefended.leaks if respect not in finding.leaks]
    parts = [f"stops {listed(stopped)}, as far as these attacks go"] if stopped else []
    if finding.leaks:
        parts.append(("still, " if stopped else "stops nothing: ") + what_leaks(finding))
    return "; ".join(parts)


def price_in_words(finding: DefenseFinding, undefended: DefenseFinding) -> str:
    """What a defense costs."""
    if finding.price is None or undefended.price is None:
        return "What it costs was not measured."
    if finding.price["notes"]:
        return f"What it costs is not known: {finding.price['notes']}."
    with_it, without = _share(finding.price, "accuracy"), _share(undefended.price, "accuracy")
    upload = finding.price["upload_bytes"] / undefended.price["upload_bytes"]
    return f"Price: accuracy {with_it} after a short federated training, {without} without it; upload x {upload:.2g}."


def _share(row: Any, name: str) -> str:
    """A share in per cent with its interval, of a row of whatever kind."""
    low, high = 100 * row[f"{name}_low"], 100 * row[f"{name}_high"]
    return f"{percent(row[f'{name}_mean'], 1)} {between(low, high, 1)}"


def _label_sentences(labels: pd.DataFrame) -> Iterator[str]:
    best_rules = _best_rules(labels)
    for size, rows in labels.groupby("batch_size"):
        images, best = counted(int(str(size)), "image"), best_rules.get(int(str(size)))
        if best is None:
            yield f"Labels of {images}: no rule can be run on this network."
            continue
        leak = "leak" if _leaks(best) else "are found no better than by guessing"
        yield (
            f"Labels of {images} {leak}: {best['rule']}, the best of "
            f"{counted(int(rows['accuracy_mean'].notna().sum()), 'rule')}, finds {_share(best, 'accuracy')} of them in "
            f"the undefended gradient (guessing: {percent(best['chance'], 1)})."
        )


def _under(labels: pd.DataFrame, defense: str) -> pd.DataFrame:
    return labels[labels["defense"] == defense]


def labels_under(defense: str, labels: pd.DataFrame) -> str:
    """Whether labels still leak with a defense, batch size by batch size."""
    leaked = [size for size, best in _best_rules(_under(labels, NONE)).items() if _leaks(best)]
    clauses = []
    for size, best in _best_rules(_under(labels, defense)).items():
        leak = ("still leak" if size in leaked else "leak") if _leaks(best) else "are found no better than by guessing"
        clauses.append(f"of {counted(size, 'image')} {leak} ({best['rule']}: {_share(best, 'accuracy')})")
    return f"Labels {listed(clauses)}." if clauses else "What it does to labels could not be measured."


def _best_rules(labels: pd.DataFrame) -> dict[int, pd.Series]:
    """Batch size -> the row of the rule that surely finds most labels; nothing where no rule can be run."""
    # By the lower bound: where any rule is above guessing, so is this one. Stable, so that of rules that find as many
    # the same one is named every time.
    measured = labels[labels["accuracy_mean"].notna()].sort_values(["accuracy_low", "accuracy_mean"], kind="stable")
    return {int(str(size)): rows.iloc[-1] for size, rows in measured.groupby("batch_size")}


def _leaks(rule: pd.Series) -> bool:
    return bool(rule["accuracy_low"] > rule["chance"])


def limits(findings: AuditFindings) -> Iterator[str]:
    """What the audit does not prove."""
    yield (
        "No attack that succeeds is no proof of safety: these attacks, at this budget, are what was tried; a stronger "
        "one, a larger budget or more knowledge may recover what they did not."
    )
    yield (
        f"Each verdict rests on {counted(findings.undefended.n_batches, 'batch')} and on these images, and is an error "
        "in at most 5 % of the cases for each attack and each rule; of several one may err more often."
    )
    yield (
        "The attacker is given more than many have (see what was granted), and less than some: batches are small, and "
        "what is known of the local training is all of it."
    )
    yield (
        "The rules that infer labels know of no defense. What a defense stops may yet leak to an attack that is made "
        "against that defense alone."
    )
    if findings.request.inputs.labels_are_predicted:
        yield (
            "Labels are what the network itself predicts: how many are found, and what a training reaches, is measured "
            "against these and says little; put the images into class folders to know."
        )
    yield (
        f"Prices are those of a short training ({_training(findings)}), not of yours; they rank defenses and predict "
        "no accuracy."
    )
    for attack, reason in findings.design.impossible.items():
        yield f"{attack} was not possible here: {reason}."


def _training(findings: AuditFindings) -> str:
    price = findings.undefended.price
    return str(price["training"]) if price else "none was run here"


def _row(finding: DefenseFinding, labels: pd.DataFrame) -> AuditRow:
    gradient, statistics = finding.shown_by("from_gradient"), finding.shown_by("from_statistics")
    cells = {
        respect: "update" if respect in gradient else "statistics" if respect in statistics else
        "either" if respect in finding.leaks else "not shown" if finding.is_tested else "not said"
        for respect in FAMILY
    }  # fmt: skip
    price = finding.price
    accuracy = _share(price, "accuracy") if price and not price["notes"] else ""
    best = max(finding.lines, key=lambda line: (_gain(line), line.cell.key), default=None)
    return AuditRow(
        "no defense" if finding.defense == NONE else finding.defense,
        cells,
        "; ".join(
            f"{counted(size, 'image')}: {percent(rule['accuracy_mean'])} (guessing: {percent(rule['chance'])})"
            for size, rule in _best_rules(_under(labels, finding.defense)).items()
        ),
        _who(best) if best else "",
        accuracy,
    )


def _gain(line: BoardLine) -> float:
    gain = line.number("psnr_gain_mean")
    # Without its controls an attack has none: compared with NaN, it would stand before whoever has one.
    return -math.inf if math.isnan(gain) else gain


def _rules(labels: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "defense": "no defense" if row["defense"] == NONE else str(row["defense"]),
            "rule": str(row["rule"]),
            "batch_size": str(row["batch_size"]),
            "found": _share(row, "accuracy") if pd.notna(row["accuracy_mean"]) else "",
            "notes": "" if pd.isna(row["notes"]) else str(row["notes"]),
        }
        for row in labels.to_dict("records")
    ]


def leaking(respects: Sequence[str]) -> str:
    """The respects, and that they leak."""
    return f"{listed(respects)} {'leaks' if list(respects) in (['structure'], ['identity']) else 'leak'}"


def listed(words: Sequence[str]) -> str:
    """Words with commas and a last `and`."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
