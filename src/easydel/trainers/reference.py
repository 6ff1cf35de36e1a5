"""Where the reference log-probabilities come from, decided here once: the training step is given an array.

| configuration                          | reference                                                      |
|----------------------------------------|----------------------------------------------------------------|
| `reference_free`, or no loss needs one | zeros                                                          |
| `reference_model` given                | that model, frozen                                             |
| `reference_model` None                 | the policy as it was before the first step: with new adapters  |
|                                        | its base, with loaded ones a copy of these on the same base    |
| `sync_ref_model`                       | either of the last two, moved towards the policy every n steps |
| `precompute_ref_log_probs`             | one that does not move, asked once before training             |

What is precomputed are the log-probabilities of single tokens (`reference_cache`). A step sums them with the code that
sums those of a model, so that they serve any beta, loss or `ld_alpha`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from easydel.data.cache import open_cache
from easydel.data.loader import Loader
from easydel.data.pack import Batch
from easydel.display.display import SILENT, Display
from easydel.logprobs import sum_per_completion
from easydel.models.causal_lm import CausalLM
from easydel.models.decoder import Decoder
from easydel.models.lora import adds_nothing, without_adapters
from easydel.trainers.batch_placement import replicated
from easydel.trainers.config import DPOConfig
from easydel.trainers.reference_precompute import Precompute, Precomputed
from easydel.trainers.step_functions import ReferenceLogps, ReferenceStep, make_reference_step
from easydel.trainers.train_state import cast
from easydel.trainers.trainable import ALL_TRAINED, Partition


class Reference:
    """Gives the reference log-probabilities of a batch, and follows the policy where it is asked to.

    Attributes:
        params: the weights of the reference model, or None when training without one and after `release`.
        sync_steps: steps between two moves towards the policy; None never moves.
    """

    def __init__(
        self,
        decoder: Decoder | None,
        params: PyTree | None,
        *,
        chunk: int,
        ld_alpha: float | None = None,
        sync_steps: int | None = None,
        mixup_alpha: float = 1.0,
        precompute: Precompute | None = None,
        partition: Partition = ALL_TRAINED,
    ) -> None:
        self.params: Any = params
        self.sync_steps = sync_steps
        self._partition = partition
        self._logprobs: ReferenceStep | None = None
        self._precomputed: Precomputed | None = None
        if decoder is not None and precompute is not None:
            self._precomputed = Precomputed(decoder, precompute, chunk=chunk)
        elif decoder is not None:
            place = replicated(decoder.mesh)
            self._logprobs = make_reference_step(decoder, chunk=chunk, ld_alpha=ld_alpha, place=place)
        self._summed = jax.jit(jax.vmap(partial(sum_per_completion, ld_alpha=ld_alpha)))
        # Donating would free the weights of the user's own reference model at the first move.
        self._mix = jax.jit(lambda policy, reference: mix(policy, reference, alpha=mixup_alpha))

    def prepare(self, name: str, loader: Loader, *, max_batches: int | None = None) -> None:
        """Makes `logprobs` ready for a set of pairs: computes what must be known before training and is not yet.

        Log-probabilities are computed in the batches in which they are first looked up, where nothing else was asked
        for: then they are the same bits as without precomputing.

        Args:
            name: of the set; a second set of this name takes the place of the first.
            loader: its pairs, and the batches of its first epoch.
            max_batches: compute the first batches alone, this many; None takes all.

        Raises:
            ConfigError: some log-probabilities are not known, and the weights were released.
        """
        if self._precomputed is not None:
            self._precomputed.prepare(name, loader, self.params, max_batches=max_batches)

    def release(self) -> None:
        """Forgets the weights where log-probabilities are precomputed: all that training asks for is known."""
        if self._precomputed is not None:
            self.params = None

    def logprobs(self, name: str, batch: Batch, on_device: Batch) -> ReferenceLogps:
        """Returns `log p(completion | prompt)` under the reference for a stacked batch, float32 [micro pairs 2].

        Args:
            name: of the set of pairs, as in `prepare`.
            batch: as the loader gives it.
            on_device: the same, on the devices.
        """
        if self._precomputed is not None:
            return self._summed(self._precomputed.per_token(name, batch), on_device)
        if self._logprobs is None:
            return jnp.zeros_like(on_device.lengths, jnp.float32)
        return self._logprobs(self.params, on_device)

    def compile(self, batch: Batch) -> None:
        """Compiles what `logprobs` runs on batches of these shapes, as `batch_placement.abstract_batch` gives it."""
        if self._logprobs is not None:
            self._logprobs.lower(self.params, batch).compile()

    def after_step(self, step: int, policy: PyTree) -> None:
        """Moves the reference towards the policy when `step` updates are a multiple of `sync_steps`.

        Args:
            policy: its trained weights.
        """
        if self.sync_steps is not None and step % self.sync_steps == 0:
            self.move_to(self._mix(policy, self.moving))

    @property
    def moving(self) -> PyTree:
        """The weights that `after_step` moves: those that the policy trains."""
        return self._partition.trained_part(self.params)

    def move_to(self, moving: PyTree) -> None:
        """Puts other weights in the place of `moving`."""
        self.params = self._partition.beside(moving, self._partition.frozen_part(self.params))


def make_reference(
    config: DPOConfig,
    model: CausalLM,
    reference_model: CausalLM | None,
    *,
    chunk: int,
    partition: Partition = ALL_TRAINED,
    frozen: PyTree | None = None,
    display: Display = SILENT,
) -> Reference:
    """Returns the reference that the settings describe.

    Args:
        model: the initial policy.
        partition: which of its weights are trained.
        frozen: the others, to be shared with the policy; None takes them from the model.
        reference_model: what it is compared with; None takes the policy itself.
        chunk: as the policy's, see `logprobs.completion_logprobs`.
        display: shows how far precomputing is.

    Raises:
        ConfigError: a cache folder that cannot be used.
    """
    if not config.needs_reference:
        return Reference(None, None, chunk=chunk)
    # What the policy is trained from. Adapters that add nothing cost nothing either, unless they will be moved.
    trained = cast(partition.trained_part(model.params), config.param_dtype)
    others: Any = partition.frozen_part(model.params) if frozen is None else frozen
    # A cache serves runs that train other layers too: its weights are those of the model, whatever is frozen.
    start = (partition.combine if config.precompute_ref_log_probs else partition.beside)(trained, others)
    if model.lora is not None and not config.sync_ref_model and adds_nothing(partition.combine(trained, others)):
        start = without_adapters(start)
    source, params = model, start
    if reference_model is not None:
        source, params = reference_model, reference_model.params
    precompute = None
    if config.precompute_ref_log_probs:
        precompute = Precompute(
            cache=open_cache(config.cache_directory, "reference"),
            mesh=model.decoder.mesh,
            batch_size=config.precompute_ref_batch_size,
            display=display,
        )
    return Reference(
        source.decoder,
        params,
        chunk=chunk,
        ld_alpha=config.ld_alpha,
        sync_steps=config.ref_model_sync_steps if config.sync_ref_model else None,
        mixup_alpha=config.ref_model_mixup_alpha,
        precompute=precompute,
        partition=partition,
    )


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
