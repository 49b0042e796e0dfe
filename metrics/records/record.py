"""The record: what one trial leaves behind. Written by the benchmark, read by tables and pictures."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1

State = Literal["done", "diverged", "skipped", "failed", "oom"]
FINISHED: tuple[State, ...] = ("done", "diverged", "skipped")
SCORED: tuple[State, ...] = ("done", "diverged")
BUDGET_LEFT = "budget left"
"""How an attack's note begins that says why it did not spend its whole budget."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Cell(_Frozen):
    """The identifying columns of a leaderboard row: all trials of one row share them."""

    attack: str
    preset: str = ""
    parameters: str = ""
    tuning: str = "suite"
    dataset: str
    image_size: int
    victim: str
    victim_state: str
    victim_seed: int
    bn_mode: str
    bn_statistics: str
    granted_numbers_per_pixel: float
    labels: str
    update: str
    defense: str
    adaptive: bool
    batch_size: int
    max_equal_labels: int
    budget: str = "paper"
    precision: str = "float32"
    is_control: bool = False

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
        own = {"attack", "preset", "parameters", "tuning", "is_control"}
        return tuple(getattr(self, name) for name in type(self).model_fields if name not in own)


class ImageScore(_Frozen):
    """One original of the private batch, with the values of the reconstruction that was matched to it.

    `details` holds what else the attack says of the image, such as `agent_spread`; these are no scores.
    """

    slot: int
    reconstruction: int
    image: str
    label: int
    metrics: dict[str, float]
    details: dict[str, float] = Field(default_factory=dict)


class Record(_Frozen):
    """One finished, skipped or failed trial; everything a row of the leaderboard needs."""

    schema_version: int = SCHEMA
    id: str
    suite: str
    order: int
    repetition: int
    cell: Cell
    spec: dict[str, Any]
    state: State
    reason: str = ""
    images: list[ImageScore] = Field(default_factory=list)
    label_accuracy: float | None = None
    slot_accuracy: float | None = None
    label_method: str = ""
    uses: list[str] = Field(default_factory=list)
    objective_start: float | None = None
    objective_end: float | None = None
    evaluations: int = 0
    curve: list[tuple[int, float]] = Field(default_factory=list)
    snapshots: list[int] = Field(default_factory=list)
    snapshot_psnr: list[float] = Field(default_factory=list)
    zero_gradient_share: float | None = None
    update_cosine: float | None = None
    scored: str = ""
    final_psnr: float | None = None
    consensus_psnr: float | None = None
    registrations: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float | None = None
    engine: str = "eager"
    threads: int = 1
    device: str = "cpu"
    versions: dict[str, str] = Field(default_factory=dict)
    date: str = ""
    notes: list[str] = Field(default_factory=list)

    @property
    def is_scored(self) -> bool:
        """Whether the trial has values: it ended, well or by diverging."""
        return self.state in SCORED
