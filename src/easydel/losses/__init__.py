"""Preference losses: pure functions from log-probabilities to one value per pair.

Every loss takes `(policy, reference, lengths)`, arrays of shape `[pairs, 2]` whose last axis is (chosen, rejected):
the summed log-probability of each completion under the policy and under the reference, and its number of tokens.
A padding pair, which only rounds a batch up to its compiled size, has length 0; the caller leaves its value out.

In the equations  lp = policy, lr = reference, |y| = length, b = beta, e = label_smoothing, f a divergence, and

    c = lp_c - lr_c,  r = lp_r - lr_r          the log-ratios of the two completions
    d = f(c) - f(r)                            the margin, chosen above rejected; f is the identity unless asked for
    d_mean = f(c) / |y_c| - f(r) / |y_r|       the same per token

Further keywords are options of the run (`beta`, `label_smoothing`, ...) or facts about the batch; a loss gets those it
asks for by name, see `easydel.trainers.objective`. A new loss is a function in one of the modules, its name in the
table at the end of that, and a row of `TRAITS` in `easydel.trainers.options.losses`; CONTRIBUTING.md shows a diff.

`margin` has those that look at d alone, `each` those that judge each completion by itself, `scored` those that know how
much better one is, `transport` those that sort all pairs, `reference_free` those without a reference.
"""

from collections.abc import Callable, Mapping

from easydel.losses import each, margin, reference_free, scored, transport
from easydel.losses.ratios import DIVERGENCES, Lengths, Logps, PerPair, Scalar

__all__ = ["DIVERGENCES", "LOSSES", "Lengths", "Logps", "PerPair", "Scalar"]

LOSSES: Mapping[str, Callable[..., PerPair]] = {
    **margin.LOSSES,
    **each.LOSSES,
    **scored.LOSSES,
    **transport.LOSSES,
    **reference_free.LOSSES,
}
