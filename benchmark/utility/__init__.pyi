from .federated import (
    Federation as Federation,
    class_shares as class_shares,
    federated_accuracy as federated_accuracy,
)
from .table import utility_row as utility_row
