"""What is minimised, what selects and what the curve shows: the distance plus the weighted priors of a candidate."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.distances import Distance, Pullback
from gradinv.attacks.gradient_matching.priors import Candidate, Prior
from gradinv.attacks.gradient_matching.variables import Evaluated, Given, Gradients, added, pulled
from gradinv.attacks.known_defense import KnownDefense
from gradinv.attacks.leak import Leak
from gradinv.attacks.transforms import Seen
from gradinv.attacks.victim import Victim, call_with

Recorded = dict[int, tuple[Tensor, Tensor]]


class Objective:
    """The objective of one victim, as a function of a candidate: the images and, where optimised, label logits.

    `distance` None leaves the update out. `transform` is the key of what an attacker who knows the defense does to a
    candidate's update before it is compared; empty: nothing. Batch-norm statistics come from the same forward pass as
    the update. Of several updates of the batch the mean of the distances counts; statistics and predictions are those
    of the first state, as what is granted is. `autocast` runs the victim's forward pass in bfloat16.
    """

    def __init__(
        self,
        victim: Victim,
        distance: Distance | None,
        priors: Sequence[Prior],
        *,
        transform: str = "",
        autocast: bool = False,
    ) -> None:
        self.victim, self.distance, self.priors, self.autocast = victim, distance, priors, autocast
        self.needs_bn_statistics = any(prior.needs_bn_statistics for prior in priors)
        self.needs_predictions = any(prior.needs_predictions for prior in priors)
        self.needs_autoencoder = any(prior.needs_autoencoder for prior in priors)
        self.defense = KnownDefense(transform, victim)
        self._recorded: Recorded = {}

    def given(self, leak: Leak, labels: Tensor | None) -> Given:
        """What a leak gives; `labels` None: they are optimised.

        ValueError where a prior lacks its grant, LeakError where the leak is another network's.
        """
        self.victim.require_fit(leak)
        if self.needs_bn_statistics and leak.bn_statistics is None:
            raise ValueError("a batch-norm prior needs bn_statistics, and the leak has none")
        given = self._given_of(leak.gradients, leak.batch_size)
        if self.defense.mixes_labels and labels is not None:
            dtype = next(iter(leak.gradients.values())).dtype
            labels = torch.nn.functional.one_hot(labels, leak.num_classes).to(dtype)
        given["labels"] = [] if labels is None else [labels]
        given["granted"] = list(leak.bn_statistics or ()) if self.needs_bn_statistics else []
        given["autoencoder"] = self._autoencoder(leak) if self.needs_autoencoder else {}
        for later in leak.later:
            further = self._given_of(later.gradients, leak.batch_size)
            if self.distance is not None:
                further["state"] = {name: later.state[name] for name in self.victim.parameter_names}
            given["later"].append(further)
        return given

    def _given_of(self, gradients: Mapping[str, Tensor], batch_size: int) -> Given:
        """What one update gives: its target, and itself where an evaluation looks at it."""
        observed = [gradients[name] for name in self.victim.parameter_names]
        return {
            "labels": [],
            "target": self._target(observed, batch_size),
            "granted": [],
            # Empty where unused: whatever is given becomes an input of a program, stacked for every candidate.
            "observed": observed if self._needs_observed else [],
            "factors": [],
            "autoencoder": {},
            "state": {},
            "later": [],
        }

    def _autoencoder(self, leak: Leak) -> dict[str, Tensor]:
        """The leak's autoencoder in the type of its gradients, with what makes pixels of candidates."""
        if leak.autoencoder is None:
            raise ValueError("a prior trained on public images needs an autoencoder, and the leak has none")
        like = next(iter(leak.gradients.values()))
        scale = {"mean": torch.tensor(leak.mean).view(-1, 1, 1), "std": torch.tensor(leak.std).view(-1, 1, 1)}
        return {name: value.to(like) for name, value in {**leak.autoencoder, **scale}.items()}

    @property
    def _needs_observed(self) -> bool:
        """Whether an evaluation looks at the update as it was observed. May be overridden."""
        return bool(self.defense.key)

    def _target(self, observed: list[Tensor], batch_size: int) -> list[Tensor]:
        if self.distance is None:
            return []
        return self.distance.prepare(self._as_gradient(self.defense.compared(observed), batch_size))

    @property
    def terms(self) -> tuple[object, ...]:
        """All that decides what is computed, but for the network: objectives that share it share programs."""
        return (self.victim.update_kind, self.distance, *self.priors)

    @property
    def weights(self) -> list[float]:
        """The weights of the terms, in their order."""
        distance = [] if self.distance is None else [self.distance.scale]
        return [*distance, *(prior.weight for prior in self.priors)]

    @property
    def term_names(self) -> tuple[str, ...]:
        """What the terms are called, in their order: `gradient`, then the priors, a second one of a name numbered."""
        names = ["gradient"] * (self.distance is not None) + [prior.term for prior in self.priors]
        earlier = [names[:index].count(name) for index, name in enumerate(names)]
        return tuple(f"{name} {count + 1}" if count else name for name, count in zip(names, earlier, strict=True))

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Inside the block the objective may be evaluated; the victim carries hooks only here, and only if needed."""
        with self.victim.recording_bn_statistics(self.needs_bn_statistics) as self._recorded:
            yield

    @torch.enable_grad()
    def evaluate(self, candidate: Sequence[Tensor], given: Given) -> Evaluated:
        """The scalar objective of normalised images (B, C, H, W) and label logits, its gradients for them, its terms.

        The distance's own gradient is taken by its closed form, so that one backward pass through the victim, with
        nothing of the network's size beside it, is all that is left. Of several updates one is done with before the
        next, so that they take no more memory than one.
        """
        leaves = [part.detach().requires_grad_(True) for part in candidate]
        evaluated = self._evaluate_first(leaves, given)
        if self.distance is not None:
            for later in given["later"]:
                evaluated = added(evaluated, self._evaluate_later(self.distance, leaves, given, later))
        return evaluated

    def _evaluate_first(self, leaves: list[Tensor], given: Given) -> Evaluated:
        """The distance to the first update, of several its share of the mean, and the priors."""
        update: Sequence[Tensor] = ()
        logits: Tensor | None = None
        known, seen = self._seen(leaves, given)
        with self._precision():
            if self.distance is not None:
                update = self._expected(self._update(known, seen.labels, given, seen.buffers), given, len(leaves[0]))
            if self._needs_own_pass(len(leaves[0])):
                logits = self.victim.module(seen.images)
        # Outside of `_precision`: the priors' own arithmetic is not coarsened with the victim's.
        penalties = self._penalties(self._judged(leaves[0], self._recorded, given, logits, seen.labels), given)
        penalty = penalties.sum()
        if self.distance is None:
            slopes: Gradients = [*torch.autograd.grad(penalty, leaves, allow_unused=True)]
            return Evaluated(penalty.detach(), slopes, penalties.detach())
        pullback = self._pullback(self.distance, update, given, given["target"])
        # The whole gradient is scaled by the pullback's factor in the end, so the penalty's part is divided by it now.
        outputs, cotangents = [*update, penalty], [*pullback.cotangents, 1 / pullback.factor]
        slopes = pulled(outputs, leaves, cotangents, pullback.factor)
        terms = torch.cat([pullback.value[None], penalties]).detach()
        return Evaluated((pullback.value + penalty).detach(), slopes, terms)

    def _evaluate_later(self, distance: Distance, leaves: list[Tensor], given: Given, later: Given) -> Evaluated:
        """A further update's share of the mean distance."""
        known, seen = self._seen(leaves, given)  # anew: the first update's backward pass has freed what it went through
        with self._precision():
            update = self._expected(self._update(known, seen.labels, later, seen.buffers), later, len(leaves[0]))
        pullback = self._pullback(distance, update, given, later["target"])
        slopes = pulled(update, leaves, pullback.cotangents, pullback.factor)
        return Evaluated(pullback.value, slopes, pullback.value[None])

    @torch.no_grad()
    def _pullback(
        self, distance: Distance, update: Sequence[Tensor], given: Given, target: Sequence[Tensor]
    ) -> Pullback:
        """One update's share of the distance term, with its gradient."""
        pullback = distance.pullback([part.detach() for part in update], target)
        if given["factors"]:
            pullback = pullback.times(given["factors"][0][0])
        # Untouched where there is one update, so that its bits stay what they were.
        return pullback.times(1 / (1 + len(given["later"]))) if given["later"] else pullback

    def functional(
        self, candidate: Sequence[Tensor], given: Given, state: dict[str, Tensor]
    ) -> tuple[Tensor, Sequence[Tensor], Tensor]:
        """The same as a pure function, for `torch.func` and for tracing; `state` holds parameters and buffers."""

        def total(candidate: list[Tensor]) -> tuple[Tensor, Tensor]:
            update, judged = self._functional(candidate, given, state)
            penalties = self._penalties(judged, given)
            penalty = penalties.sum()
            if self.distance is None:
                return penalty, penalties
            distance = self.distance.value(update, given["target"])
            if given["later"]:
                distances = [distance, *self._later_distances(self.distance, candidate, given, state)]
                distance = torch.stack(distances).mean()
            if given["factors"]:
                distance = given["factors"][0][0] * distance
            return distance + penalty, torch.cat([distance[None], penalties])

        slopes, (value, terms) = torch.func.grad_and_value(total, has_aux=True)(list(candidate))
        return value, slopes, terms

    def _later_distances(
        self, distance: Distance, candidate: Sequence[Tensor], given: Given, state: dict[str, Tensor]
    ) -> Iterator[Tensor]:
        """The distances to further updates, each from its own state."""
        known, seen = self._seen(candidate, given)
        for later in given["later"]:
            there = {**state, **later["state"], **seen.buffers}
            with self._precision():
                update, _ = self._functional_update(known, seen.labels, later, there)
                update = self._expected(update, later, len(candidate[0]))
            yield distance.value(update, later["target"])

    def _functional(
        self, candidate: Sequence[Tensor], given: Given, state: dict[str, Tensor]
    ) -> tuple[Sequence[Tensor], Candidate]:
        update: Sequence[Tensor] = []
        recorded, logits = self._recorded, None
        known, seen = self._seen(candidate, given)
        state = {**state, **seen.buffers}
        with self._precision():
            if self.distance is not None:
                update, recorded = self._functional_update(known, seen.labels, given, state)
                update = self._expected(update, given, len(candidate[0]))
            if self._needs_own_pass(len(candidate[0])):
                logits = call_with(self.victim.module, state, seen.images)
                # This pass has overwritten what those of the update left: priors see the weights that were sent out.
                recorded = dict(self._recorded)
        return update, self._judged(candidate[0], recorded, given, logits, seen.labels)

    def begin(self, leak: Leak) -> list[Tensor]:
        """The variables of what the client drew in secret, where one candidate begins; mostly none. May be overridden.

        UnansweredError where what is known of a defense has no answer to such a leak.
        """
        return self.defense.start(leak)

    @property
    def secrets(self) -> int:
        """How many variables follow a candidate's images, before label logits, for what the client drew in secret."""
        return self.defense.secrets

    def _seen(self, candidate: Sequence[Tensor], given: Given) -> tuple[Sequence[Tensor], Seen]:
        """The candidate without its secrets and with the images that the network saw, and all that it saw."""
        secrets, beside = candidate[1 : 1 + self.secrets], candidate[1 + self.secrets :]
        labels = _labels([candidate[0], *beside], given)
        # Without a distance nothing tells what was drawn, and there may be no labels to mix.
        if self.distance is None:
            return [candidate[0], *beside], Seen(candidate[0], labels)
        seen = self.defense.seen(candidate[0], labels, secrets)
        return [seen.images, *beside], seen

    def _update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, buffers: Mapping[str, Tensor]
    ) -> Sequence[Tensor]:
        """What the client would have sent for the candidate. May be overridden, together with the next.

        `given` is the first update's or a later one's; `weights_of` says which network it is from.
        """
        return self.victim.update(candidate[0], labels, parameters=self.weights_of(given), buffers=buffers)

    def weights_of(self, given: Given) -> Mapping[str, Tensor]:
        """The weights that an update is from, by name, as leaves that a gradient can be taken for."""
        if not given["state"]:
            return self.victim.named_parameters
        return {name: value.detach().requires_grad_(True) for name, value in given["state"].items()}

    def _functional_update(
        self, candidate: Sequence[Tensor], labels: Tensor, given: Given, state: dict[str, Tensor]
    ) -> tuple[Sequence[Tensor], Recorded]:
        """The same by `torch.func`, with the statistics that were recorded."""
        return self.victim.functional_update(candidate[0], labels, state, self._recorded)

    def _needs_own_pass(self, batch_size: int) -> bool:
        """Whether a term needs a pass of the whole batch under the weights that were sent out, beside the update's.

        Statistics do after several steps, or without an update; predictions always, for the update's are not kept.
        """
        in_steps = self.victim.update_kind.steps(batch_size) > 1
        return self.needs_predictions or (self.needs_bn_statistics and (self.distance is None or in_steps))

    def _expected(self, update: Sequence[Tensor], given: Given, batch_size: int) -> Sequence[Tensor]:
        """The update as it is compared: as an attacker who knows the defense expects it, in units of a gradient."""
        return self._as_gradient(self.defense.expected(update, given["observed"]), batch_size)

    def _as_gradient(self, update: Sequence[Tensor], batch_size: int) -> list[Tensor]:
        # So the weights of priors, tolerances and steps mean the same for every kind of update.
        named = dict(zip(self.victim.parameter_names, update, strict=True))
        return list(self.victim.update_kind.as_gradient(named, batch_size).values())

    def _judged(
        self, images: Tensor, recorded: Recorded, given: Given, logits: Tensor | None, labels: Tensor
    ) -> Candidate:
        """What priors see."""
        statistics = [recorded[index] for index in range(len(recorded))]
        return Candidate(images, statistics, given["granted"], logits, labels, given["autoencoder"])

    def _penalties(self, candidate: Candidate, given: Given) -> Tensor:
        """The weighted priors, one after another. May be overridden."""
        terms = [prior.weight * prior(candidate) for prior in self.priors]
        if not terms:
            return candidate.images.new_zeros((0,))
        penalties = torch.stack(terms)
        # From the end, since the first factor is the distance's where there is one.
        return given["factors"][0][-len(terms) :] * penalties if given["factors"] else penalties

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.victim.device.type, torch.bfloat16) if self.autocast else nullcontext()


def _labels(candidate: Sequence[Tensor], given: Given) -> Tensor:
    """The labels that are given, or the probabilities that the candidate's logits stand for."""
    return given["labels"][0] if given["labels"] else candidate[1].softmax(dim=-1)
