"""A model of two small layers, whose sizes divide over eight devices, and pairs of random ids to train it on."""

import jax
import numpy as np

from easydel.data.pack import Batch, Shape, pack, stack
from easydel.data.pair import Pair
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.decoder import Decoder
from easydel.models.export import Origin
from easydel.models.rows import axis_sizes, weight_rows
from easydel.sharding import make_mesh, sharding_for
from easydel.weights.table import Row, nest

VOCAB = 32
ONE_DEVICE = (1, 1, 1, 1, 1)


def tiny_config(**changes: object) -> ModelConfig:
    """Returns a llama of 16 channels; weights are large enough for its answers to differ."""
    values = {
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    return ModelConfig.from_hf(values | changes)


def tiny_model(
    *,
    dims: tuple[int, ...] = ONE_DEVICE,
    config: ModelConfig | None = None,
    dtype: str = "float32",
    gradient_checkpointing: str = "",
) -> CausalLM:
    """Returns the model with the same float32 weights whatever is asked for. Made by numpy: nothing to compile."""
    config, mesh = config or tiny_config(), make_mesh(dims)
    random, sizes = np.random.default_rng(0), axis_sizes(config)

    def weight(row: Row) -> jax.Array:
        shape = row.shape(sizes)
        values = random.normal(float(row.start == "ones"), config.initializer_range, shape).astype(np.float32)
        return jax.device_put(values, sharding_for(row.axes, shape, mesh))

    decoder = Decoder(config, mesh, dtype, gradient_checkpointing=gradient_checkpointing)
    return CausalLM(decoder, nest({row.path: weight(row) for row in weight_rows(config)}), Origin("tiny"))


def tiny_pairs(count: int, *, seed: int = 0) -> list[Pair]:
    """Returns pairs of uneven lengths: prompts of 2 to 5 tokens, completions of 1 to 6."""
    random = np.random.default_rng(seed)

    def ids(fewest: int, most: int) -> list[int]:
        return random.integers(0, VOCAB, random.integers(fewest, most + 1)).tolist()

    return [Pair(ids(2, 5), ids(1, 6), ids(1, 6), index=index) for index in range(count)]


def micro_batches(pairs: list[Pair], micro: int, *, filler: int = 0) -> Batch:
    """Returns the pairs as `micro` equal parts of one shape, `filler` empty pairs behind those of each part."""
    size = len(pairs) // micro
    shape = Shape(rows=size, length=24, slots=16 * size)
    parts = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return stack([pack(part, shape=shape, pad_pairs_to=size + filler) for part in parts])
