"""A causal language model as a value: a decoder, its parameters, and where they came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int

from easydel.display.display import make_display
from easydel.errors import ConfigError
from easydel.models.config import ModelConfig
from easydel.models.decoder import COMPILER_OPTIONS, Decoder, Params
from easydel.models.export import Origin, exported, write_whole
from easydel.models.folders import ModelFolder
from easydel.models.generate import Sampling, generate_tokens
from easydel.models.init import init_params
from easydel.models.inputs import checked_rows
from easydel.models.lora import Lora, without_adapters
from easydel.models.lora_apply import loaded_adapters, new_adapters, rows_and_sizes
from easydel.models.peft import write_adapters
from easydel.models.quantize import check_quantization
from easydel.models.quantized_params import quantized_params
from easydel.models.rows import weight_rows
from easydel.processes import is_first
from easydel.sharding import length_shards, make_mesh, row_shards
from easydel.weights.folder import replace_folder
from easydel.weights.load import export_specs, export_tensors
from easydel.weights.table import Row, nest, unnest


class Output(NamedTuple):
    """What calling a model gives."""

    logits: Float[Array, "batch length vocab"]


@dataclass(frozen=True)
class CausalLM:
    """A language model: what is compiled (`decoder`), its parameters (`params`), what saving copies (`origin`).

    Adapters (`lora`) are part of the parameters, see `easydel.models.lora`.
    """

    decoder: Decoder
    params: Params
    origin: Origin
    lora: Lora | None = None

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        *,
        seed: int = 0,
        dtype: DTypeLike = jnp.float32,
        param_dtype: DTypeLike = jnp.float32,
        mesh: Mesh | None = None,
        attn_mechanism: str = "auto",
        gradient_checkpointing: str = "",
    ) -> "CausalLM":
        """Returns a model with random weights."""
        mesh = make_mesh((1, -1, 1, 1, 1)) if mesh is None else mesh
        decoder = Decoder(
            config, mesh, dtype, attn_mechanism=attn_mechanism, gradient_checkpointing=gradient_checkpointing
        )
        params = init_params(config, jax.random.key(seed), dtype=param_dtype, mesh=mesh)
        return cls(decoder, params, Origin(config.model_type, config.to_hf()))

    @property
    def config(self) -> ModelConfig:
        """The configuration of the decoder."""
        return self.decoder.config

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The token ids at which its completions end: those of generation_config.json, else of config.json.

        Ids outside the vocabulary, such as -1, are left out.
        """
        ids = (self.origin.generation or {}).get("eos_token_id")
        ids = self.config.eos_token_id if ids is None else ids  # null is as good as no entry
        found = np.atleast_1d(np.asarray(ids, int)).tolist()
        return tuple(number for number in found if 0 <= number < self.config.vocab_size)

    @property
    def rows(self) -> list[Row]:
        """The weight table: what each parameter is called in a checkpoint, and what its axes are."""
        return [*weight_rows(self.config), *self.adapter_rows]

    @property
    def adapter_rows(self) -> list[Row]:
        """The rows of the weight table that are those of adapters."""
        return rows_and_sizes(self.config, self.lora)[0]

    @property
    def sizes(self) -> dict[str, int]:
        """The size of every axis that the weight table names."""
        return rows_and_sizes(self.config, self.lora)[1]

    def __call__(self, input_ids: ArrayLike, attention_mask: ArrayLike | None = None) -> Output:
        """Returns the logits of every position, float32.

        Padding (mask 0) may be on either side: positions count real tokens only. Logits at padding are
        undefined.

        Args:
            input_ids: token ids [batch length].
            attention_mask: 1 for real tokens, 0 for padding, [batch length]; None: all are real.

        Raises:
            ConfigError: ids outside the vocabulary, or a mask of another shape.
        """
        tokens, mask = checked_rows(input_ids, attention_mask, self.config.vocab_size)
        (batch, length), mesh = tokens.shape, self.decoder.mesh
        # Rows and their length are split over devices: pad both, and drop the padding again.
        padding = ((0, -batch % row_shards(mesh)), (0, -length % length_shards(mesh)))
        logits = _logits(self.decoder, self.params, np.pad(tokens, padding), np.pad(mask, padding))
        return Output(logits[:batch, :length])

    def generate(
        self,
        input_ids: ArrayLike,
        attention_mask: ArrayLike | None = None,
        *,
        max_new_tokens: int = 128,
        temperature: float | None = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
    ) -> Int[np.ndarray, "batch total"]:
        """Returns `input_ids` followed by up to `max_new_tokens` new tokens.

        A row ends at its first end-of-sequence token and is filled with `pad_token_id` after it; the result
        is as long as the longest row needs. Prompts of different lengths are padded on either side and
        masked.

        Args:
            temperature: 0 or None takes the most likely token each time (the default); above 0 samples.
            top_p: sample from the fewest tokens whose probabilities sum to at least this.
            top_k: sample from this many most likely tokens; 0 takes all.
            repetition_penalty: above 1 makes tokens that a row already has less likely: positive logits are divided by
                it, negative ones multiplied.
            seed: equal seeds give equal samples.
            eos_token_id: one id or several; None takes those of generation_config.json, else of config.json.
            pad_token_id: None takes that of the configuration, else the first end-of-sequence id, else 0; those outside
                the vocabulary do not count, as old conversions write -1 for none.

        Raises:
            ConfigError: settings out of range, a row without any token, or ids outside the vocabulary.
        """
        tokens, mask = checked_rows(input_ids, attention_mask, self.config.vocab_size)
        eos = self.eos_token_ids if eos_token_id is None else np.atleast_1d(np.asarray(eos_token_id, int)).tolist()
        vocabulary = self.config.vocab_size
        if pad_token_id is not None and not 0 <= pad_token_id < vocabulary:
            raise ConfigError(f"pad_token_id ({pad_token_id}) must be in the vocabulary, 0 to {vocabulary - 1}.")
        pads = (pad_token_id, self.config.pad_token_id, *eos)
        pad = next((int(i) for i in pads if i is not None and 0 <= i < vocabulary), 0)
        sampling = Sampling(
            max_new_tokens, float(temperature or 0), float(top_p), top_k, float(repetition_penalty), seed, pad
        )
        return generate_tokens(self.decoder, self.params, tokens, mask, sampling, eos)

    def apply_lora(
        self,
        rank: int,
        *,
        alpha: float | None = None,
        target_modules: str | Sequence[str] | None = None,
        dropout: float = 0.0,
        use_dora: bool = False,
        use_rslora: bool = False,
        seed: int = 0,
        dtype: DTypeLike = jnp.float32,
    ) -> "CausalLM":
        """Returns the model with new adapters, which add nothing yet; training it trains them alone.

        Args:
            rank: of the product that is added to each matrix.
            alpha: the product is multiplied by `alpha / rank`; None is twice the rank.
            target_modules: the ends of the names of modules, such as ["q_proj", "v_proj"], one regular expression for
                whole names, or "all-linear"; None is that: every matrix of the layers.
            dropout: share of the inputs of the adapters that is dropped in training.
            use_dora: learn the length of each output's weight vector besides (DoRA).
            use_rslora: multiply by `alpha / sqrt(rank)` instead (rsLoRA).
            seed: of A, which is random; B is zero.
            dtype: of the adapters, as trained.

        Raises:
            ConfigError: the model has adapters, a rank that does not fit, or a target that is not there.
        """
        self._require_no_adapters()
        wanted = Lora(rank, 2 * rank if alpha is None else alpha, (), dropout, use_dora, use_rslora)
        params, lora = new_adapters(
            self.config, self.params, self.decoder.mesh, wanted, target_modules=target_modules, seed=seed, dtype=dtype
        )
        return self._with_adapters(params, lora)

    def load_adapter(self, folder: str | Path | ModelFolder) -> "CausalLM":
        """Returns the model with the adapters of a PEFT folder here, in float32.

        Raises:
            WeightsError: no such folder, one that asks for what is not supported, or that does not fit this model.
            ConfigError: the model has adapters, or those in the folder have a rank or targets that cannot be.
        """
        self._require_no_adapters()
        opened = folder if isinstance(folder, ModelFolder) else ModelFolder(Path(folder).expanduser(), str(folder))
        params, lora = loaded_adapters(self.config, self.params, self.decoder.mesh, opened, base=self.origin.name)
        return replace(self, origin=replace(self.origin, adapters=opened.path))._with_adapters(params, lora)

    def quantized(self, kind: str) -> "CausalLM":
        """Returns the model with matrices and embeddings quantized to "nf4" or "int8", see `easydel.models.quantize`.

        Raises:
            ConfigError: another kind, or weights that are quantized already.
        """
        check_quantization(kind, self.params)
        quantized = quantized_params(weight_rows(self.config), self.params, self.sizes, self.decoder.mesh, kind)
        return replace(self, params=nest(unnest(self.params) | unnest(quantized)))

    def without_adapters(self) -> "CausalLM":
        """Returns the base of the model; its weights are the same arrays, not copies."""
        decoder = replace(self.decoder, adapter_dropout=0.0)
        return CausalLM(decoder, without_adapters(self.params), replace(self.origin, adapters=None))

    def merged(self, dtype: DTypeLike | None = None) -> "CausalLM":
        """Returns a model without adapters that computes what this one does; quantized weights are dequantized.

        Args:
            dtype: of its weights; None is that of the base as it was loaded.
        """
        rows = weight_rows(self.config)
        arrays = {row.path: exported(self.params, row, None if dtype is None else np.dtype(dtype)) for row in rows}
        origin = replace(self.origin, adapters=None)
        return CausalLM(replace(self.decoder, adapter_dropout=0.0), nest(arrays), origin)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: DTypeLike | None = None,
        max_shard_size: int = 5_000_000_000,
        merge: bool = False,
        also: Callable[[Path], None] | None = None,
        progress_bar_type: str = "tqdm",
    ) -> None:
        """Writes a folder that `transformers` loads: config.json, weights, generation_config.json if there was one.

        A model with adapters is written as its adapters alone, a folder that PEFT loads, unless `merge` is set.
        The folder appears, or takes the place of the previous one, only when it is complete; other files in
        it, such as a tokenizer, stay. Of several processes the first one writes, and all must come here.

        Args:
            dtype: of the written weights; None writes the parameters bit for bit, quantized ones in the dtype that they
                were loaded in.
            max_shard_size: bytes above which the weights are split into several files with an index.
            merge: add the adapters to the weights, and write the whole model.
            also: writes more files, such as those of the tokenizer, into the folder that it is given; they appear
                together with the model.
            progress_bar_type: how it is shown how far writing is, see `DPOConfig`.
        """
        written = None if dtype is None else np.dtype(dtype)
        adapters = None if merge else self.lora
        rows = weight_rows(self.config) if adapters is None else self.adapter_rows
        specs = export_specs(rows, self.params, self.sizes, written)
        tensors = export_tensors(rows, self.params, self.sizes, written, partial(exported, dtype=written))

        def write(target: Path) -> None:
            if also is not None:
                also(target)
            if adapters is not None:
                write_adapters(target, adapters, specs, tensors, base=self.origin.name)
                return
            saved, display = str(written or self.params["embedding"].dtype), make_display(progress_bar_type)
            write_whole(
                target, self.origin, specs, tensors, dtype=saved, max_shard_size=max_shard_size, display=display
            )

        if merge and self.lora is None:
            raise ConfigError("merge = True adds adapters to the weights, and this model has none: leave it out.")
        if is_first():
            replace_folder(Path(folder), write)
        else:  # to give the first process the parts that lie here
            for _ in tensors:
                pass

    def _with_adapters(self, params: Params, lora: Lora) -> "CausalLM":
        return CausalLM(replace(self.decoder, adapter_dropout=lora.dropout), params, self.origin, lora)

    def _require_no_adapters(self) -> None:
        if self.lora is not None:
            raise ConfigError(
                f"the model has adapters already, of rank {self.lora.rank}: train those on, take model.merged() to add "
                "them to its weights, or model.without_adapters() to leave them."
            )


@partial(jax.jit, static_argnums=0, compiler_options=COMPILER_OPTIONS)
def _logits(decoder: Decoder, params: Params, tokens: jax.Array, mask: jax.Array) -> jax.Array:
    position = jnp.maximum(jnp.cumsum(mask, axis=1) - 1, 0)
    hidden, _ = decoder(params, tokens, mask, jnp.zeros_like(mask), position, sequences=len(tokens))
    return decoder.logits(params, hidden)
