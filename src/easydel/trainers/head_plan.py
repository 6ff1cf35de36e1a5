"""How the LM head of a run is computed: how many completion tokens meet it at a time, and whether with the loss."""

from typing import NamedTuple

from jax.sharding import Mesh

from easydel.data.loader import Loader
from easydel.logprobs import chunks_alive
from easydel.models.decoder import Decoder
from easydel.trainers.objective import Objective

_CHUNK_ON_CPU, _CHUNK = 256, 4096
# Tokens whose probabilities over the vocabulary the fused head and loss keep. Beyond, it is not worth the memory.
_MAX_KEPT = 2048


class HeadPlan(NamedTuple):
    """How the LM head of a run is computed.

    Attributes:
        chunk: tokens at a time.
        longest: the max completion tokens of a pair, where head and loss are fused; None computes logits again for
            the gradient.
    """

    chunk: int
    longest: int | None = None

    @property
    def alive(self) -> int:
        """About how many tokens have something as large as the vocabulary alive at once."""
        return (3 if self.longest is None else 2 + chunks_alive(self.longest, self.chunk)) * self.chunk


def plan_head(mesh: Mesh) -> HeadPlan:
    """Returns how the head is computed where no gradient is asked for, and so how a reference computes it too."""
    return HeadPlan(_CHUNK_ON_CPU if mesh.devices.flat[0].platform == "cpu" else _CHUNK)


def plan_trained_head(objective: Objective, decoder: Decoder, loader: object) -> HeadPlan:
    """Returns how the head is computed in training: fused with the loss where it can be, and was measured to be faster.

    That is on one CPU device, for a loss that looks at one pair at a time, and pairs that are known before the run.
    """
    head = plan_head(decoder.mesh)
    on_one_cpu = decoder.mesh.size == 1 and decoder.mesh.devices.flat[0].platform == "cpu"
    able = on_one_cpu and objective.pair_by_pair and decoder.logit_cap is None
    if not able or not isinstance(loader, Loader):
        return head
    longest = int(loader.measured[:, 1].max())
    return head._replace(longest=longest) if chunks_alive(longest, head.chunk) * head.chunk <= _MAX_KEPT else head
