from .facts import (
    Facts as Facts,
    board_metrics as board_metrics,
    counting as counting,
    facts_of as facts_of,
    measured_metrics as measured_metrics,
)
from .identifiability import (
    Pool as Pool,
    identified as identified,
)
from .iip import (
    iip_name as iip_name,
    iip_title as iip_title,
)
from .label_accuracy import shared_labels as shared_labels
from .matching import (
    match as match,
    slot_accuracy as slot_accuracy,
)
from .scoring import (
    METRICS as METRICS,
    ScoredBatch as ScoredBatch,
    register_metric as register_metric,
    score_batch as score_batch,
    score_images as score_images,
)
