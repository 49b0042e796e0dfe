from .alignment import (
    LEAST_SIZE as LEAST_SIZE,
    align as align,
)
