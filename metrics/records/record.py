"""The record: what one trial leaves behind. Written by the benchmark, read by tables and pictures."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from gradinv.metrics.image_size import as_image_size
from gradinv.metrics.records.settings import SETTING
from gradinv.metrics.records.upgrade import SCHEMA, upgraded

State = Literal["done", "diverged", "skipped", "failed", "oom"]
FINISHED: tuple[State, ...] = ("done", "diverged", "skipped")
SCORED: tuple[State, ...] = ("done", "diverged")
LOST: tuple[State, ...] = ("failed", "oom")
"""States of trials that should have values and have none; running the suite again tries them again."""

CLOSED_FORM = "closed form"
"""Why an attack left its budget that solves for the images: it has no use for more, and may be cheaper than others."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number as tables hold them: JSON has larger ones."""

Size = Annotated[Whole | str, BeforeValidator(as_image_size)]
"""An `ImageSize` as tables hold it."""


class _Frozen(BaseModel):
    # Infinity and NaN are written as these words: Python's own reader takes them, and null would lose which it was.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Cell(_Frozen):
    """The identifying columns of a leaderboard row: all trials of one row share them.

    The last three are hashes of what the visible columns cannot tell apart (`identity.RowIdentity`), empty where a
    board from before is all there is to know.
    """

    attack: str
    preset: str = ""
    parameters: str = ""
    tuning: str = "suite"
    dataset: str
    image_size: Size
    victim: str
    victim_state: str
    victim_seed: Whole
    bn_mode: str
    bn_statistics: str
    granted_numbers_per_pixel: float
    labels: str
    update: str
    defense: str
    adaptive: bool
    batch_size: Whole
    max_equal_labels: Whole
    budget: str = "paper"
    precision: str = SETTING["precision"].default
    buffers: str = SETTING["buffers"].default
    client_precision: str = SETTING["client_precision"].default
    simulation: str = SETTING["simulation"].default
    equal_labels: Whole = SETTING["equal_labels"].default
    observations: Whole = SETTING["observations"].default
    server_lr: float = SETTING["server_lr"].default
    auxiliary_images: str = SETTING["auxiliary_images"].default
    split: str = SETTING["split"].default
    is_control: bool = False
    specification: str = ""
    arm: str = ""
    context: str = ""

    @property
    def key(self) -> str:
        """The attack's key; for a control, `control of KEY`, or the control alone where it attacks nothing."""
        if self.is_control:
            return f"{self.attack} of {self.preset}" if self.preset else self.attack
        preset = f".{self.preset}" if self.preset else ""
        return f"{self.attack}{preset}{self.parameters}"

    @property
    def setting(self) -> tuple[Any, ...]:
        """Everything but the attack: only rows of equal setting may be compared."""
        return tuple(getattr(self, name) for name in SETTING)


class ImageScore(_Frozen):
    """One original of the private batch, with the values of the reconstruction that was matched to it.

    `details` holds what else the attack says of the image, such as `agent_spread`; these are no scores.
    """

    slot: Whole
    reconstruction: Whole
    image: str
    label: Whole
    metrics: dict[str, float]
    details: dict[str, float] = Field(default_factory=dict)


class Measured(_Frozen):
    """What a trial measured, or why it did not.

    `metrics` holds what is measured once a batch, such as `label_accuracy`; what is measured of each image stands in
    `images`. `evaluations` is what the attack says that it spent, `evaluations_counted` what its victim counted.
    `terms` holds by name what the objective consists of at each point of the `curve`, weighted: gradient, the priors,
    and `group`, which is no part of the curve's own objective. `stopped` says why the budget was not spent; empty where
    it was. `alignments` counts the alignments of agents' images that were accepted and, by reason, rejected.
    `zero_gradient_share` of the parameters lie in tensors whose gradient is zero; `update_cosine` is that of the
    defended to the true update, `update_error` the length of their difference over the true length, `upload_bytes` what
    the client uploads; `weights_source` says where pretrained weights came from, `victim_accuracy` which share of
    held-out images the victim has right, `judges` who ranked the originals (metric -> weights in words), in which
    `pool`.
    """

    state: State
    reason: str = ""
    images: list[ImageScore] = Field(default_factory=list)
    metrics: dict[str, float] = Field(default_factory=dict)
    slot_accuracy: float | None = None
    label_method: str = ""
    uses: list[str] = Field(default_factory=list)
    objective_start: float | None = None
    objective_end: float | None = None
    evaluations: Whole = 0
    evaluations_counted: Whole | None = None
    stopped: str = ""
    curve: list[tuple[Whole, float]] = Field(default_factory=list)
    terms: dict[str, list[float]] = Field(default_factory=dict)
    snapshots: list[Whole] = Field(default_factory=list)
    snapshot_psnr: list[float] = Field(default_factory=list)
    snapshot_identity: list[float] = Field(default_factory=list)
    judges: dict[str, str] = Field(default_factory=dict)
    pool: str = ""
    zero_gradient_share: float | None = None
    update_cosine: float | None = None
    update_error: float | None = None
    upload_bytes: float | None = None
    final_psnr: float | None = None
    alignments: dict[str, Whole] = Field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    engine: str = "eager"
    weights_source: str = ""
    victim_accuracy: float | None = None
    notes: list[str] = Field(default_factory=list)


class Planned(_Frozen):
    """Which trial it is: what was known before it ran."""

    schema_version: Whole = SCHEMA
    id: str
    suite: str
    order: Whole
    repetition: Whole
    cell: Cell
    spec: dict[str, Any]


class Record(Measured, Planned):
    """One finished, skipped or failed trial; everything a row of the leaderboard needs.

    A record of an older schema is taken too (`upgrade.upgraded`), any unknown field is refused.
    """

    threads: Whole = 1
    device: str = "cpu"
    versions: dict[str, str] = Field(default_factory=dict)
    date: str = ""

    # Here and not in a function that reads files, so that no reader of JSON can forget it.
    @model_validator(mode="before")
    @classmethod
    def _of_any_schema(cls, content: Any) -> Any:
        return upgraded(content) if isinstance(content, dict) else content

    @property
    def is_scored(self) -> bool:
        """Whether the trial has values: it ended, well or by diverging."""
        return self.state in SCORED
