from .bench import (
    Bench as Bench,
    tuning_setting as tuning_setting,
)
from .preset_file import (
    load_preset as load_preset,
    write_preset as write_preset,
)
from .space import (
    TuneError as TuneError,
    space_of as space_of,
)
from .tune import (
    Asked as Asked,
    Progress as Progress,
    tune as tune,
)
