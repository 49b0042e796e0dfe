"""What a training with DP-SGD guarantees: epsilon, which means nothing without the parameters beside it."""

from dataclasses import dataclass

from gradinv.metrics.registry import RequestError


class AccountantMissingError(RequestError):
    """The accountant is not installed."""


@dataclass(frozen=True)
class Guarantee:
    """(epsilon, delta) of `rounds` steps, each on a Poisson sample of rate `sampling_rate`, of multiplier `sigma`."""

    epsilon: float
    delta: float
    sigma: float
    sampling_rate: float
    rounds: int

    def __str__(self) -> str:
        """Epsilon with all that it rests on."""
        return (
            f"epsilon {self.epsilon:.3g} at delta {self.delta:g} (add or remove one example; Gaussian noise of "
            f"multiplier {self.sigma:g}, Poisson sampling at rate {self.sampling_rate:g}, {self.rounds} rounds; "
            "Renyi accountant of Opacus)"
        )


def dp_guarantee(*, sigma: float, sampling_rate: float, rounds: int, delta: float) -> Guarantee:
    """The guarantee by Opacus' Renyi accountant (Mironov et al. 2019); AccountantMissingError where it is absent.

    ValueError for a multiplier of zero, which guarantees nothing.
    """
    if sigma <= 0:
        raise ValueError("dp_sgd without noise guarantees nothing: there is no epsilon at sigma 0")
    try:
        from opacus.accountants.analysis import rdp
    except ImportError as error:
        raise AccountantMissingError("epsilon needs the accountant: pip install 'gradinv[dp]'") from error
    # The orders that Opacus itself takes: the guarantee is the least epsilon over them.
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64))
    divergence = rdp.compute_rdp(q=sampling_rate, noise_multiplier=sigma, steps=rounds, orders=orders)
    epsilon, _ = rdp.get_privacy_spent(orders=orders, rdp=divergence, delta=delta)
    return Guarantee(float(epsilon), delta, sigma, sampling_rate, rounds)
