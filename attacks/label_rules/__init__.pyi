from .assumptions import (
    AUXILIARY_IMAGES as AUXILIARY_IMAGES,
    BIAS as BIAS,
    CROSS_ENTROPY as CROSS_ENTROPY,
    DISTINCT_LABELS as DISTINCT_LABELS,
    FIRST_STEP as FIRST_STEP,
    NON_NEGATIVE_FEATURES as NON_NEGATIVE_FEATURES,
    ONE_IMAGE as ONE_IMAGE,
    ONE_STEP as ONE_STEP,
    UNTRAINED as UNTRAINED,
    Assumption as Assumption,
)
from .evidence import (
    Auxiliary as Auxiliary,
    Classifier as Classifier,
    Evidence as Evidence,
    Responses as Responses,
)
from .registry import (
    RULES as RULES,
    create_rule as create_rule,
    register_rule as register_rule,
    rule_keys as rule_keys,
)
from .rounding import (
    LabelInferenceError as LabelInferenceError,
    largest_remainders as largest_remainders,
)
from .rule import Rule as Rule
