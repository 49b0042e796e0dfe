from .base import (
    DEFENSES as DEFENSES,
    ClientStep as ClientStep,
    Defense as Defense,
    UndefendableError as UndefendableError,
    register_defense as register_defense,
)
from .composition import (
    canonical_defense as canonical_defense,
    create_defense as create_defense,
    defense_keys as defense_keys,
)
