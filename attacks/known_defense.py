"""What an attacker who knows the client's defense makes of candidates and of the update that he observed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradinv.attacks.leak import Leak
from gradinv.attacks.transforms import Seen, UnansweredError, create_transform
from gradinv.attacks.victim import Victim


class KnownDefense:
    """The transform of a leak's `key` (`transforms.py`) at one victim; without a key nothing is changed.

    `secrets` is the number of variables that follow a candidate's images for what the client drew in secret.
    """

    def __init__(self, key: str, victim: Victim) -> None:
        self.key, self._victim = key, victim
        self._transform = create_transform(key).bound(victim.parameter_names) if key else None
        self.secrets = 0 if self._transform is None else self._transform.secrets

    @property
    def mixes_labels(self) -> bool:
        """Whether the network saw probabilities in place of labels."""
        return self._transform is not None and self._transform.mixes_labels

    def start(self, leak: Leak) -> list[Tensor]:
        """The variables of what the client drew in secret, where one candidate begins, on the victim's device.

        UnansweredError where the transform has no answer to such a leak.
        """
        if self._transform is None:
            return []
        if self.secrets and leak.later:
            raise UnansweredError(
                f"{self.key} finds what the client drew once, and in {leak.observations} rounds it draws anew"
            )
        return [value.to(self._victim.device) for value in self._transform.start(leak, self._victim)]

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """What the network saw of a candidate."""
        return Seen(images, labels) if self._transform is None else self._transform.seen(images, labels, secrets)

    def private(self, images: Tensor, leak: Leak) -> Tensor:
        """The private images behind those (B, C, H, W) that were found."""
        return images if self._transform is None else self._transform.private(images, leak, self._victim)

    def compared(self, observed: list[Tensor]) -> list[Tensor]:
        """What of the observed update a candidate's is compared with."""
        if self._transform is None:
            return observed
        return _lengthened(self._transform.compared(observed), observed)

    def expected(self, update: Sequence[Tensor], observed: Sequence[Tensor]) -> Sequence[Tensor]:
        """A candidate's update as it would be observed; `observed` may be empty where there is no key."""
        if self._transform is None:
            return update
        return _lengthened(self._transform(update, observed), observed)


def _lengthened(values: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
    """The values times what brings an observed update shorter than 1 to length 1; both sides of a distance get it.

    Optimizers take curvatures below a fixed number for zero: a clipped update must not look converged at its start.
    """
    length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in observed]))
    # A choice between tensors: evaluations are traced. An update of zero has no length to be brought to.
    factor = torch.where((length > 0) & (length < 1), 1 / length.clamp_min(torch.finfo(length.dtype).tiny), 1.0)
    return [value * factor for value in values]
