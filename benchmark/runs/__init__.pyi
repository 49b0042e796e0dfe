from .console import summed as summed
from .engine_choice import (
    SMALL as SMALL,
    EngineChoice as EngineChoice,
    parameters_of as parameters_of,
)
from .identification import (
    chosen_judge as chosen_judge,
    identify as identify,
)
from .plan import (
    Plan as Plan,
    PlannedVictim as PlannedVictim,
    Planner as Planner,
    hash_of as hash_of,
)
from .prepare import (
    prepare_plan as prepare_plan,
    without_training as without_training,
)
from .rerun import rerun_of as rerun_of
from .runner import (
    Ended as Ended,
    RunOptions as RunOptions,
    contrasts_of as contrasts_of,
    default_jobs as default_jobs,
    run_plan as run_plan,
    show_plan as show_plan,
)
from .selection import select as select
from .shipped import (
    SHIPPED as SHIPPED,
    suite_names as suite_names,
)
from .suite import (
    Suite as Suite,
    load_suite as load_suite,
    suite_of as suite_of,
    suite_path as suite_path,
)
from .watchers import (
    TensorBoard as TensorBoard,
    Watcher as Watcher,
)
