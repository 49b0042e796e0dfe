from .verdict import (
    FAMILY as FAMILY,
    Leakage as Leakage,
    Tested as Tested,
    leakage_of as leakage_of,
)
from .words import (
    NO_BETTER as NO_BETTER,
    NO_CONTROL as NO_CONTROL,
    NONE as NONE,
    TOO_FEW as TOO_FEW,
    badge as badge,
    joined as joined,
    parted as parted,
    sentence as sentence,
    unattributed as unattributed,
)
