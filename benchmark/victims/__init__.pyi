from .loading import (
    LoadedVictim as LoadedVictim,
    load_victim as load_victim,
    needs_download as needs_download,
    normalisation_for as normalisation_for,
    packaged_network as packaged_network,
    pretrained_source as pretrained_source,
    untrained_network as untrained_network,
    weights_hash as weights_hash,
)
from .networks import (
    VictimError as VictimError,
    build_network as build_network,
    channels_in_words as channels_in_words,
    require_model as require_model,
)
from .normalisation import (
    Normalisation as Normalisation,
    denormalise as denormalise,
    normalise as normalise,
)
from .packaged_weights import (
    PACKAGED as PACKAGED,
    packaged_source as packaged_source,
)
from .recipe import (
    Recipe as Recipe,
    recipe_names as recipe_names,
)
from .spec import (
    Stem as Stem,
    VictimSpec as VictimSpec,
    checked_spec as checked_spec,
)
from .training import (
    needs_training as needs_training,
    train_victim as train_victim,
)
from .zero_gradients import zero_gradient_share as zero_gradient_share
