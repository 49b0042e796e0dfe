from .classifier import NoClassifierError as NoClassifierError, find_classifier as find_classifier
from .evaluation_count import EvaluationCount as EvaluationCount
from .hidden_state import (
    HiddenStateError as HiddenStateError,
    forget_hidden_state as forget_hidden_state,
    private_copy as private_copy,
)
from .network import (
    FrozenNetworkError as FrozenNetworkError,
    Victim as Victim,
    bn_layers as bn_layers,
    trained_parameters as trained_parameters,
)
from .substitution import call_with as call_with
