from .base import (
    DEFENSES as DEFENSES,
    Defense as Defense,
    canonical_defense as canonical_defense,
    create_defense as create_defense,
    register_defense as register_defense,
)
