from .cards import seconds_on as seconds_on
from .gpus import (
    CARDS as CARDS,
    Card as Card,
    card_of as card_of,
)
from .preflight import (
    estimated_seconds as estimated_seconds,
    memory_warnings as memory_warnings,
)
