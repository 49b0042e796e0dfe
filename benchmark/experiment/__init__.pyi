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
    is_due as is_due,
)
from .data_hashes import data_hash as data_hash
from .identity import (
    Identity as Identity,
    NetworkJudge as NetworkJudge,
    judge_of_network as judge_of_network,
)
from .leak_attack import (
    attack_facts as attack_facts,
    attack_leak as attack_leak,
    pixels_of as pixels_of,
    read_originals as read_originals,
    scores_of as scores_of,
    write_result as write_result,
)
from .leak_check import consistency as consistency
from .leak_file import (
    load_own_victim as load_own_victim,
    read_leak as read_leak,
    receive as receive,
    victim_of_key as victim_of_key,
)
from .outcome import Outcome as Outcome
from .privacy import (
    AccountantMissingError as AccountantMissingError,
    Guarantee as Guarantee,
    dp_guarantee as dp_guarantee,
)
from .record import make_record as make_record
from .sources import sources_of as sources_of
from .spec import (
    PlannedTrial as PlannedTrial,
    TrialSpec as TrialSpec,
    cell_of as cell_of,
    result_versions as result_versions,
)
from .trial import (
    possible_attack as possible_attack,
    run_together as run_together,
)
