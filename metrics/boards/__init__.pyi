from .check import (
    Checked as Checked,
    check_board as check_board,
)
from .columns import leaderboard_columns as leaderboard_columns
from .contest import contested as contested
from .image_table import read_board as read_board
from .label_table import (
    LabelCell as LabelCell,
    label_board as label_board,
    write_label_boards as write_label_boards,
)
from .label_terminal import (
    LABEL_SETTING as LABEL_SETTING,
    print_label_board as print_label_board,
    title_of_setting as title_of_setting,
)
from .latex import write_latex as write_latex
from .leaderboard_table import (
    images_frame as images_frame,
    leaderboard as leaderboard,
    write_board as write_board,
)
from .lines import (
    BEST as BEST,
    BoardLine as BoardLine,
    lines_by_setting as lines_by_setting,
    metrics_measured as metrics_measured,
    winners as winners,
)
from .published import (
    PublishedBoard as PublishedBoard,
    PublishedLabels as PublishedLabels,
    published_boards as published_boards,
    read_frame as read_frame,
)
from .rebuild import rebuilt as rebuilt
from .review import review_lines as review_lines
from .rows import (
    PublishedRow as PublishedRow,
    images_beside as images_beside,
)
from .rules import FIRST_WITH_RESPECTS as FIRST_WITH_RESPECTS
from .schema import schema_page as schema_page
from .terminal import print_leaderboard as print_leaderboard
