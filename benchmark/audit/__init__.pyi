from .carrying_out import carry_out as carry_out
from .design import (
    DEFENSES as DEFENSES,
    AuditRequest as AuditRequest,
)
from .inputs import (
    Inputs as Inputs,
    register_inputs as register_inputs,
)
from .recommending import recommendation as recommendation
