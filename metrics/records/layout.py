"""The run directory: what lies where below the folder that `gradinv run --out` writes."""

import os
from dataclasses import dataclass
from pathlib import Path

RECORD_NAME = "record.json"


@dataclass(frozen=True)
class RunDirectory:
    """The one place that knows the names in a run directory; nothing is read, written or created by asking.

    >>> run = RunDirectory(Path("runs/quick"))
    >>> print(run.record("4d9e6f97134d519f").relative_to(run.path))
    trials/4d9e6f97134d519f/record.json
    """

    path: Path

    @property
    def trials(self) -> Path:
        """The folder with one folder a trial; a name that starts with a dot is an unfinished write."""
        return self.path / "trials"

    def trial(self, trial_id: str) -> Path:
        """The folder of one trial."""
        return self.trials / trial_id

    def _of_trial(self, trial_id: str, file: str) -> Path:
        # Joined at once: making a path of a path of a path takes longer than to parse a record.
        return self.path.joinpath("trials", trial_id, file)

    def record(self, trial_id: str) -> Path:
        """What a trial left behind, as JSON (`record.Record`)."""
        return self._of_trial(trial_id, RECORD_NAME)

    def tensors(self, trial_id: str) -> Path:
        """The pictures of a trial, uint8 safetensors; missing where it was not scored."""
        return self._of_trial(trial_id, "tensors.safetensors")

    def floats(self, trial_id: str) -> Path:
        """The images of a trial as they were scored, float32 safetensors; missing unless the run kept them."""
        return self._of_trial(trial_id, "floats.safetensors")

    def log(self, trial_id: str) -> Path:
        """What was printed while the trial ran, warnings among it; missing where nothing was."""
        return self._of_trial(trial_id, "log.txt")

    def checksums(self, trial_id: str) -> Path:
        """SHA-256 of the record and of the pictures, as `sha256sum -c` reads them; older trials have none."""
        return self._of_trial(trial_id, "SHA256SUMS")

    def additions(self, trial_id: str) -> Path:
        """What was measured of a trial later (`additions.Additions`); missing where nothing was."""
        return self._of_trial(trial_id, "additions.json")

    @property
    def victims(self) -> Path:
        """The folder of the victims' weights, from which worker processes read them."""
        return self.path / "victims"

    def weights(self, weights_hash: str) -> Path:
        """The weights of one victim, by their hash."""
        return self.victims / f"{weights_hash}.safetensors"

    @property
    def suite(self) -> Path:
        """The suite as it was last run, resolved, as JSON."""
        return self.path / "suite.json"

    @property
    def plugins(self) -> Path:
        """What is remembered of the plug-ins of the run (`plugins.Plugins`); missing where it had none."""
        return self.path / "plugins.json"

    @property
    def board(self) -> Path:
        """The leaderboard, one row a cell."""
        return self.path / "leaderboard.csv"

    @property
    def images(self) -> Path:
        """The image table that belongs to the leaderboard, one row an image."""
        return self.path / "leaderboard.images.csv"

    @property
    def tensorboard(self) -> Path:
        """The folder that TensorBoard reads, one run a trial; missing unless the run was asked for it."""
        return self.path / "tensorboard"

    @property
    def figures(self) -> Path:
        """The folder of figures and contact sheets."""
        return self.path / "figures"


def trial_ids(run: RunDirectory) -> list[str]:
    """The names of the folders of a run directory's trials, sorted; none where there is no such directory.

    What is no folder, a pipe or a link to itself, is passed over.
    """
    # scandir tells folders from files without a further call for each of some thousand names.
    try:
        with os.scandir(run.trials) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except OSError:
        return []


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
