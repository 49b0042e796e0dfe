from .cards import (
    CARDS as CARDS,
    Card as Card,
    card_of as card_of,
    seconds_on as seconds_on,
)
from .preflight import (
    estimated_seconds as estimated_seconds,
    memory_warnings as memory_warnings,
)
