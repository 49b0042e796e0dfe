from . import (
    attacks as attacks,
    benchmark as benchmark,
    metrics as metrics,
)
from .benchmark.api import (
    Compared as Compared,
    Run as Run,
    Trial as Trial,
    __version__ as __version__,
    compare as compare,
    evaluate as evaluate,
    load_board as load_board,
    load_data as load_data,
    load_leak as load_leak,
    load_run as load_run,
    load_victim as load_victim,
    plot as plot,
    run as run,
    trial as trial,
)
