from .april import LU_2022 as LU_2022
from .closed_form import ClosedForm as ClosedForm
from .first_layer import (
    FirstLayer as FirstLayer,
    NoFirstLayerError as NoFirstLayerError,
    find_first_layer as find_first_layer,
)
