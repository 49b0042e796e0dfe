from .facts import (
    Facts as Facts,
    board_metrics as board_metrics,
    counting as counting,
    declare as declare,
    default_metrics as default_metrics,
    facts_of as facts_of,
    measured_metrics as measured_metrics,
)
from .identity import (
    CosineLikeness as CosineLikeness,
    LowpassLikeness as LowpassLikeness,
    Pool as Pool,
    lowpass_features as lowpass_features,
    ranks_of as ranks_of,
)
from .label_accuracy import shared_labels as shared_labels
from .matching import (
    match as match,
    slot_accuracy as slot_accuracy,
)
from .ranks import (
    ANYWHERE as ANYWHERE,
    identity_name as identity_name,
    is_identified as is_identified,
    judge_of as judge_of,
    rank_of as rank_of,
)
from .scoring import (
    METRICS as METRICS,
    ScoredBatch as ScoredBatch,
    register_metric as register_metric,
    score_batch as score_batch,
    score_images as score_images,
)
