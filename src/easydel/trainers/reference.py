"""Where the reference log-probabilities come from, decided here once: the training step is given an array.

| configuration            | reference                                                     |
|--------------------------|---------------------------------------------------------------|
| `reference_free`         | zeros                                                         |
| `reference_model` given  | that model, frozen                                            |
| `reference_model` None   | the policy as it was before the first step                    |
| `sync_ref_model`         | either of the last two, moved towards the policy every n steps |
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from easydel.data.pack import Batch
from easydel.logprobs import Decoder
from easydel.trainers.step import ReferenceLogps, make_reference_step


class Reference:
    """Gives the reference log-probabilities of a batch, and follows the policy where it is asked to.

    Attributes:
        params: the weights of the reference model, or None when training without one.
        sync_steps: steps between two moves towards the policy; None never moves.
    """

    def __init__(
        self,
        decoder: Decoder | None,
        params: PyTree | None,
        *,
        chunk: int,
        sync_steps: int | None = None,
        mixup_alpha: float = 1.0,
    ) -> None:
        self.params = params
        self.sync_steps = sync_steps
        self._logprobs: Callable[[PyTree, Batch], ReferenceLogps] | None = None
        if decoder is not None:
            self._logprobs = make_reference_step(decoder, chunk=chunk)
        # Donating would free the weights of the user's own reference model at the first move.
        self._mix = jax.jit(lambda policy, reference: mix(policy, reference, alpha=mixup_alpha))

    def logprobs(self, batch: Batch) -> ReferenceLogps:
        """Returns `log p(completion | prompt)` under the reference for a stacked batch, float32 [micro pairs 2]."""
        if self._logprobs is None:
            return jnp.zeros(batch.lengths.shape, jnp.float32)
        return self._logprobs(self.params, batch)

    def after_step(self, step: int, policy: PyTree) -> None:
        """Moves the reference towards the policy when `step` updates are a multiple of `sync_steps`."""
        if self.sync_steps is not None and step % self.sync_steps == 0:
            self.params = self._mix(policy, self.params)


def mix(policy: PyTree, reference: PyTree, *, alpha: float) -> PyTree:
    """Returns `alpha * policy + (1 - alpha) * reference`, in the reference's dtypes.

    TR-DPO, Gorbatovski et al. 2024, eq. 5 (the soft update).

    >>> float(mix({"w": jnp.ones(())}, {"w": jnp.zeros(())}, alpha=0.9)["w"])  # doctest: +ELLIPSIS
    0.8999...
    """
    return jax.tree.map(
        lambda p, r: (alpha * p.astype(jnp.float32) + (1.0 - alpha) * r.astype(jnp.float32)).astype(r.dtype),
        policy,
        reference,
    )
