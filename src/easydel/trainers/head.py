"""How the head of a run is computed: how many completion tokens meet it at a time, and in how many passes."""

from typing import NamedTuple

from jax.sharding import Mesh

from easydel.data.loader import Loader
from easydel.logprobs import chunks_alive
from easydel.models.decoder import Decoder
from easydel.trainers.objective import Objective

_CHUNK_ON_CPU, _CHUNK = 256, 4096
# Tokens whose probabilities over the vocabulary are kept in one pass. Beyond, it takes too much memory for its use.
_MOST_KEPT = 2048


class Head(NamedTuple):
    """The head of a run.

    Attributes:
        chunk: tokens at a time.
        longest: with one pass, the completion tokens that a pair has at most; None computes logits again for the
            gradient.
    """

    chunk: int
    longest: int | None = None

    @property
    def alive(self) -> int:
        """For how many tokens something as large as the vocabulary is alive at once, about."""
        return (3 if self.longest is None else 2 + chunks_alive(self.longest, self.chunk)) * self.chunk


def head_of(mesh: Mesh) -> Head:
    """Returns how the head is computed where no gradient is asked for, and so how a reference computes it too."""
    return Head(_CHUNK_ON_CPU if mesh.devices.flat[0].platform == "cpu" else _CHUNK)


def trained_head(objective: Objective, decoder: Decoder, loader: object) -> Head:
    """Returns how the head is computed in training: in one pass where that can be, and was measured to be faster.

    That is on one CPU device, for a loss that looks at one pair at a time, and pairs that are known before the run.
    """
    head = head_of(decoder.mesh)
    on_one_cpu = decoder.mesh.size == 1 and decoder.mesh.devices.flat[0].platform == "cpu"
    able = on_one_cpu and objective.pair_by_pair and decoder.logit_cap is None
    if not able or not isinstance(loader, Loader):
        return head
    longest = int(loader.measured[:, 1].max())
    return head._replace(longest=longest) if chunks_alive(longest, head.chunk) * head.chunk <= _MOST_KEPT else head
