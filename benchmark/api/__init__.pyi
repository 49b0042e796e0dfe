from .about import __version__ as __version__
from .comparing import (
    Compared as Compared,
    compare as compare,
)
from .evaluating import evaluate as evaluate
from .loading import (
    load_board as load_board,
    load_data as load_data,
    load_leak as load_leak,
    load_run as load_run,
    load_victim as load_victim,
)
from .plotting import plot as plot
from .results import (
    Run as Run,
    Trial as Trial,
)
from .running import (
    run as run,
    trial as trial,
)
