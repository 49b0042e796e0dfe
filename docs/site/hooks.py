"""What mkdocs calls while it builds the site: pages that lie elsewhere in the checkout or nowhere, and their links.

Pages are written for who reads them in the checkout. The site takes them as they are from where they lie, and only
turns their links to where the site has the same page.
"""

import posixpath
import re
from html import unescape
from pathlib import Path

import nbconvert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import attacks, defenses, distances, inputs, label_rules, metrics, python, starts

from gradinv.metrics.report import breakable

CHECKOUT = Path(__file__).parents[2]
ELSEWHERE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "leaderboards/*.*", "leaderboards/presets/*.yaml")
"""What the site takes from outside of docs/, which is all that mkdocs looks at by itself."""
REFERENCE = {
    "reference/attacks.md": attacks,
    "reference/defenses.md": defenses,
    "reference/distances.md": distances,
    "reference/starts.md": starts,
    "reference/metrics.md": metrics,
    "reference/label-rules.md": label_rules,
    "reference/inputs.md": inputs,
    "reference/python.md": python,
}
# Code comes first in the pattern, so that brackets in it are passed over and not taken for links.
CODE_OR_LINK = re.compile(r"(?P<code>^```.*?^```$|`[^`\n]*`)|\]\((?P<target>[^)\s]+)\)", re.DOTALL | re.MULTILINE)

INLINE = re.compile(
    r"(?P<block><pre.*?</pre>)|<code>(?P<name>[^<\n]*)</code>"
    r"|(?<=[\d\]]) (?P<unit>%|dB)|(?P<interval>\[-?[\d.]+, -?[\d.]+\])",
    re.DOTALL,
)
"""What must not be broken at any place, or only at some: blocks of code are left as they are."""

FIGURE = re.compile(r'(?<!">)<img [^>]*src="([^"]+\.png)"[^>]*>')
"""A figure that is in no link yet."""

LOADED = re.compile(r"""<(?:script|img|link[^>]* rel="?(?:stylesheet|icon)"?)[^>]* (?:src|href)="?(https?:[^" >]+)""")
"""What a browser would fetch from another machine to show a page; links that are only followed are not meant."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the boards' pages into the navigation, so that a new board has one place to be named: the boards' index."""
    index = (CHECKOUT / "leaderboards" / "README.md").read_text(encoding="utf-8")
    pages = dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)", index))
    (boards,) = (entry["Boards"] for entry in config.nav or [] if "Boards" in entry)
    boards += [f"leaderboards/{name}" for name in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/ as Markdown."""
    for pattern in ELSEWHERE:
        for path in sorted(CHECKOUT.glob(pattern)):
            name = path.relative_to(CHECKOUT).as_posix()
            files.append(File.generated(config, site_path(name), abs_src_path=str(path)))
    for path in sorted((CHECKOUT / "docs" / "notebooks").glob("*.ipynb")):
        for name, content in notebook_files(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    for name, page in REFERENCE.items():
        files.append(File.generated(config, name, content=page()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links turned to where the site has what they name."""
    source = checkout_path(page.file.src_uri)
    return markdown if page.file.src_uri in REFERENCE else with_links_to_site(markdown, source)


def site_path(path: str) -> str:
    """Where the site has a file of the checkout.

    >>> [site_path(path) for path in ("README.md", "docs/audit.md", "docs/notebooks/audit.ipynb", "CHANGELOG.md")]
    ['index.md', 'audit.md', 'notebooks/audit.md', 'CHANGELOG.md']
    """
    if path == "README.md":
        return "index.md"
    return re.sub(r"^(notebooks/.*)\.ipynb$", r"\1.md", path.removeprefix("docs/"))


def checkout_path(uri: str) -> str:
    """The file of the checkout that a page of the site is made from.

    >>> [checkout_path(uri) for uri in ("index.md", "audit.md", "leaderboards/speed.md")]
    ['README.md', 'docs/audit.md', 'leaderboards/speed.md']
    """
    if uri == "index.md":
        return "README.md"
    return uri if (CHECKOUT / uri).is_file() else f"docs/{uri}"


def with_links_to_site(markdown: str, source: str) -> str:
    """The text of a file of the checkout with its relative links as they are on the site.

    >>> with_links_to_site("[a](docs/audit.md#x), `[b](docs/c.md)`, [d](https://e.org)", "README.md")
    '[a](audit.md#x), `[b](docs/c.md)`, [d](https://e.org)'
    """

    def turned(matched: re.Match[str]) -> str:
        target = matched["target"]
        if matched["code"] or "://" in target or target.startswith("#"):
            return matched[0]
        path, mark, anchor = target.partition("#")
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        folder = posixpath.dirname(site_path(source)) or "."
        return f"]({posixpath.relpath(site_path(linked), folder)}{mark}{anchor})"

    return CODE_OR_LINK.sub(turned, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with lines that break where the parts of a name begin, and not within an interval or before a unit.

    Its figures lead to themselves, which are larger than a page is wide, as GitHub has them do.
    """
    return INLINE.sub(_unbroken, FIGURE.sub(r'<a href="\1">\g<0></a>', html))


def _unbroken(found: re.Match[str]) -> str:
    if found["name"]:
        return f"<code>{breakable(unescape(found['name']))}</code>"
    return found["block"] or found[0].replace(" ", "&nbsp;")


def notebook_files(path: Path) -> dict[str, str | bytes]:
    """A notebook as Markdown and pictures, with the outputs that it was committed with."""
    # The key begins the pictures' names, which would else be the same in every notebook.
    text, resources = nbconvert.MarkdownExporter().from_filename(str(path), resources={"unique_key": path.stem})
    # The theme gives its looks, and a bar to scroll it by, to tables without a class.
    text = text.replace('<table border="1" class="dataframe">', "<table>")
    return {f"{path.stem}.md": text, **resources["outputs"]}


def on_post_build(config: MkDocsConfig) -> None:
    """PluginError where a page would load anything from elsewhere: it must open the same without a network."""
    for page in sorted(Path(config.site_dir).rglob("*.html")):
        loaded = LOADED.findall(page.read_text(encoding="utf-8"))
        if loaded:
            raise PluginError(f"{page} loads {', '.join(loaded)}")
