from .attack_optimality import optimality as optimality
from .intervals import (
    Gain as Gain,
    Interval as Interval,
    bounded_interval as bounded_interval,
    gain_over_controls as gain_over_controls,
    interval as interval,
    metric_interval as metric_interval,
    one_sided as one_sided,
)
from .paired_tests import (
    SEVERAL as SEVERAL,
    holm as holm,
    paired as paired,
)
from .pareto import undominated as undominated
from .proportions import (
    interval_of_shares as interval_of_shares,
    proportion as proportion,
)
from .recovery_curves import (
    Recovery as Recovery,
    envelope as envelope,
    recovery as recovery,
    share_better as share_better,
)
