"""iLRG: every class's own confidences from its own gradient, then the counts from a linear system."""

import torch
from torch import Tensor

from gradinv.attacks.label_rules.assumptions import BIAS, ONE_STEP
from gradinv.attacks.label_rules.evidence import Evidence
from gradinv.attacks.label_rules.registry import register_rule
from gradinv.attacks.label_rules.rule import Rule


@register_rule("ilrg", source="iLRG: Ma et al., ICLR 2023")
class ILRG(Rule):
    """The least-squares solution of sum k = B and, for every class i, of sum_j k_j P_ji - k_i = B g_i.

    g is the gradient of the bias and P_j, the mean prediction for images of class j, what the classifier makes of the
    ratio of the class's weight gradient and bias gradient, which is taken for its feature.
    """

    assumptions = (ONE_STEP, BIAS)

    def estimate(self, evidence: Evidence) -> Tensor:
        """The solution (C,)."""
        gradient, classes = evidence.bias_gradients, evidence.num_classes
        predictions = _class_predictions(evidence)
        system = torch.cat([predictions.T - torch.eye(classes, dtype=gradient.dtype), gradient.new_ones(1, classes)])
        target = torch.cat([evidence.batch_size * gradient, gradient.new_tensor([evidence.batch_size])])
        # By QR with pivoting, which copes with systems that lack rank, as the authors' pseudo-inverse does.
        return torch.linalg.lstsq(system, target[:, None], driver="gelsy").solution[:, 0]


def _class_predictions(evidence: Evidence) -> Tensor:
    """(C, C): row c is the softmax of the classifier on the feature of class c."""
    gradient, classifier = evidence.bias_gradients, evidence.classifier
    features = evidence.weight_gradient / gradient[:, None]
    # A class of bias gradient 0 has no ratio; the mean over the others stands in.
    mean = evidence.weight_gradient.abs().sum(dim=0) / gradient.abs().sum().clamp_min(torch.finfo(gradient.dtype).tiny)
    features = torch.where(torch.isfinite(features), features, mean)
    logits = features @ classifier.weight.T + (0 if classifier.bias is None else classifier.bias)
    return logits.softmax(dim=1)
