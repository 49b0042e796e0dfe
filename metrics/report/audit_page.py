"""The report of an audit: one page in sentences, with the pictures, above the whole board as pages of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradinv.metrics.boards import BoardLine
from gradinv.metrics.leakage import FAMILY
from gradinv.metrics.records import PictureFolder, Pictures, Record
from gradinv.metrics.report.folders import ASSETS, replaced
from gradinv.metrics.report.site import Extras, environment, write_html
from gradinv.metrics.report.strips import strips

_PARTS = {*ASSETS, "index.html", "summary.txt", "board", "pictures"}


@dataclass(frozen=True)
class AuditRow:
    """One defense in the table: respect -> where it leaks from in a word, labels found, who shows most, accuracy."""

    defense: str
    leaks: Mapping[str, str]
    labels: str
    strongest: str
    accuracy: str


@dataclass(frozen=True)
class AuditPage:
    """What stands on the page, in words; `shown` are the attacks whose pictures are there."""

    title: str
    facts: Sequence[str]
    sentences: Sequence[str]
    rows: Sequence[AuditRow]
    rules: Sequence[Mapping[str, str]]
    limits: Sequence[str]
    shown: Sequence[BoardLine] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        """The same for a terminal: what was audited, what leaks, what that does not prove."""
        parts = {"": [self.title, *self.facts], "What leaks": self.sentences, "Limits": self.limits}
        return "\n\n".join("\n".join([*[name] * bool(name), *lines]) for name, lines in parts.items())


def write_audit(page: AuditPage, records: Sequence[Record], directory: Path, extras: Extras) -> Path:
    """Write the report into a folder, whole or not at all; returns its page. An older report there is replaced."""
    with replaced(directory, _PARTS) as folder:
        names, pictures = (
            strips(page.shown, PictureFolder(Pictures(extras.runs), folder / "pictures")) if page.shown else ([], [])
        )
        template = environment([]).get_template("audit.html")
        text = template.render(page=page, respects=list(FAMILY), images=names, strips=pictures, has_board=bool(records))
        (folder / "index.html").write_text(text, encoding="utf-8")
        (folder / "summary.txt").write_text(page.text + "\n", encoding="utf-8")
        if records:
            write_html(records, folder / "board", extras)
    return directory / "index.html"
