from .attack import GradientMatching as GradientMatching
from .coupling import (
    Bond as Bond,
    Coupling as Coupling,
)
from .distances import (
    CosineDistance as CosineDistance,
    Distance as Distance,
    LayerwiseL2 as LayerwiseL2,
    Pullback as Pullback,
    SapagDistance as SapagDistance,
    SquaredL2 as SquaredL2,
    TagDistance as TagDistance,
    TopEntries as TopEntries,
    norm as norm,
    paired as paired,
)
from .evaluation import (
    Engine as Engine,
    Kind as Kind,
    Precision as Precision,
)
from .group_consistency import (
    GroupConsistency as GroupConsistency,
    slot_orders as slot_orders,
)
from .inits import Init as Init
from .lbfgs import LBFGS as LBFGS
from .matched_trial import MatchedTrial as MatchedTrial
from .needs import (
    LabelPolicy as LabelPolicy,
    lacks_scale as lacks_scale,
)
from .objective import (
    Objective as Objective,
    Recorded as Recorded,
)
from .optimizers import (
    Adam as Adam,
    Optimizer as Optimizer,
    Schedule as Schedule,
    Stepper as Stepper,
    coarse_levels_first as coarse_levels_first,
    step_decay as step_decay,
    warmup_cosine as warmup_cosine,
)
from .parts import (
    DISTANCES as DISTANCES,
    INITS as INITS,
    create_distance as create_distance,
    create_init as create_init,
    register_distance as register_distance,
    register_init as register_init,
)
from .priors import (
    BatchNormStatistics as BatchNormStatistics,
    Candidate as Candidate,
    ImageL2 as ImageL2,
    Prediction as Prediction,
    Prior as Prior,
    ReconstructionError as ReconstructionError,
    TotalVariation as TotalVariation,
    TotalVariationL2 as TotalVariationL2,
)
from .variables import (
    Given as Given,
    valid_range as valid_range,
)
