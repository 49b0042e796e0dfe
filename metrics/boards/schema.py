"""The page `leaderboards/schema.md`: what every column of every published table means."""

from gradinv.metrics.boards.columns import image_columns, leaderboard_columns, schema_markdown
from gradinv.metrics.boards.label_table import LABEL_BATCH_COLUMNS, LABEL_COLUMNS
from gradinv.metrics.boards.rules import Levels
from gradinv.metrics.boards.taxonomy import LETTERS

_PAGE = """\
# Every column

Printed by `gradinv show schema`; a test compares. `text` may be empty. Numbers are raw and in full precision; what was
not measured is empty. [How to read a row](how-to-read.md) says what follows from them.

## Leaderboard, `NAME.csv`

A metric that was asked for (`ms_ssim`, `psnr_registered`), that a network measured (`identity_NETWORK`: the same as
`identity_lowpass`, by that network) or that a plug-in adds has its columns after `label_accuracy_high`.

{leaderboard}

## Image table, `NAME.images.csv`

`identity_pool` (photographs that the original was looked for among, itself included) stands before `state` on boards
from schema 4 on. Boards with attacks of several agents have two more columns there: `agent_spread` (standard deviation
over the agents after registration, in units of pixel value, mean over the pixels) and `consensus_psnr` (PSNR of the
agents' consensus, which is not what is scored). Metrics of plug-ins stand before `state`.

{images}

## What may be granted

{levels}

## Board of label inference, `labels-NAME.csv`

{labels}

## Its single batches, `labels.batches.csv`

{batches}
"""


def schema_page(levels: Levels) -> str:
    """The whole page, in Markdown, made from the tables of columns that the boards are written with.

    `levels` are the words of the columns that say what was granted, with their meanings.
    """
    return _PAGE.format(
        leaderboard=schema_markdown(leaderboard_columns()),
        images=schema_markdown(image_columns()),
        levels=_levels_markdown({**levels, "letter": LETTERS}),
        labels=schema_markdown(LABEL_COLUMNS),
        batches=schema_markdown(LABEL_BATCH_COLUMNS),
    )


def _levels_markdown(levels: Levels) -> str:
    lines = ["| column | word | what is granted |", "|---|---|---|"]
    for column, words in levels.items():
        lines += [f"| {column} | `{word}` | {meaning} |" for word, meaning in words.items()]
    return "\n".join(lines)
