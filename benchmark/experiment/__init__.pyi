from . import controls as controls
from .client import (
    SELF_CHECK_TOLERANCE as SELF_CHECK_TOLERANCE,
    ImpossibleCellError as ImpossibleCellError,
    InconsistentExperimentError as InconsistentExperimentError,
    client_update as client_update,
)
from .controls import (
    CONTROLS as CONTROLS,
    MEANING as MEANING,
)
from .identity import (
    Identity as Identity,
    NetworkJudge as NetworkJudge,
    judge_of_network as judge_of_network,
)
from .outcome import Outcome as Outcome
from .sources import sources_of as sources_of
from .spec import (
    PlannedTrial as PlannedTrial,
    TrialSpec as TrialSpec,
    cell_of as cell_of,
    result_versions as result_versions,
)
from .trial import (
    make_record as make_record,
    possible_attack as possible_attack,
    run_together as run_together,
)
