"""The configuration of a decoder: plain values, read from and written to a Hugging Face `config.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from easydel.errors import ConfigError, unsupported
from easydel.models.families import FAMILIES
from easydel.models.hf_config import check_types
from easydel.models.kinds import DeltaNet, Experts, Layer, Rope, ShortConv
from easydel.models.wrappers import PREFIX, is_wrapper, text_config

ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that tells one decoder from another; hashable, so it can be static under `jax.jit`.

    Attributes:
        layers: what may differ between layers.
        pre_norm, post_norm: whether the input, and the output, of attention and MLP pass a norm.
        norm: 'rms', or 'layer' for one that takes the mean off too.
        norm_offset: added to the weights of all norms.
        norm_names: what files call the norms before and behind attention, before and behind the MLP; () is Llama's way.
        parallel: attention and MLP read the same norm, and what they make is added at once.
        qk_norm: '' none, 'head' norms each head's query and key, 'all' those of all heads together.
        fused_projections, fused_mlp: the file keeps query, key and value in one tensor, and gate and up in another.
        neighbors: rotary embedding pairs neighboring channels, not the halves of a head.
        embedding_scale, residual_scale: factors of the embeddings, and of what a layer adds to the residual stream.
        attention_scale: of query key^T.
        logits_scaling: what logits are divided by.
        score_cap, logit_cap: c of c * tanh(x / c) for attention scores and for logits; None: no cap.
        gated_attention: `q_proj` holds, behind each head's query, a gate of what the head reads: a sigmoid.
        conv, delta: of the layers whose mixer is a convolution, or the gated delta rule.
        names: what the files call parts of a layer, by what Llama's call them: ends of names of modules.
        module_prefix: of the names of its tensors; another in a wrapper, see `easydel.models.wrappers`.
        source: the `config.json` that this was read from, that of the wrapper where there is one.

    Raises:
        ConfigError: sizes that do not fit together, or an activation we do not have.
    """

    model_type: str
    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    layers: tuple[Layer, ...]
    attention_scale: float
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    pre_norm: bool = True
    post_norm: bool = False
    norm: str = "rms"
    norm_offset: float = 0.0
    norm_names: tuple[str, ...] = ()
    parallel: bool = False
    qk_norm: str = ""
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    fused_projections: bool = False
    fused_mlp: bool = False
    neighbors: bool = False
    experts: Experts | None = None
    gated_attention: bool = False
    conv: ShortConv | None = None
    delta: DeltaNet | None = None
    names: tuple[tuple[str, str], ...] = ()
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logits_scaling: float = 1.0
    score_cap: float | None = None
    logit_cap: float | None = None
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    module_prefix: str = "model"
    # Two spellings of one model are equal.
    source: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in (
            *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
            *("num_key_value_heads", "head_dim", "max_position_embeddings"),
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1.")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads ({self.num_attention_heads}) must be divisible by "
                f"num_key_value_heads ({self.num_key_value_heads})."
            )
        for layer in self.layers:
            if layer.window is not None and layer.window < 1:
                raise ConfigError(f"sliding_window ({layer.window}) must be at least 1, or null for no window.")
        if not 0 <= self.attention_dropout < 1:
            raise ConfigError(f"attention_dropout ({self.attention_dropout}) must be in [0, 1).")
        if self.hidden_act not in ACTIVATIONS:
            raise unsupported("hidden_act", str(self.hidden_act), sorted(ACTIVATIONS))

    @classmethod
    def from_hf(cls, source: Mapping[str, Any]) -> "ModelConfig":
        """Returns the configuration that a parsed `config.json` describes: of a wrapper, that of its text.

        Raises:
            ConfigError: a model type, rotary type or activation we do not support, quantized weights, a missing key,
                or sizes that do not fit together.
        """
        text = text_config(source)
        check_types(text)
        model_type = text.get("model_type")
        if model_type is None:
            supported = ", ".join(sorted(FAMILIES))
            raise ConfigError(f"there is no model_type, which names the architecture. Supported: {supported}.")
        if model_type not in FAMILIES:
            raise unsupported("model_type", model_type, sorted(FAMILIES))
        quantized = text.get("quantization_config")
        if quantized:
            raise ConfigError(
                f"the weights are quantized already (quantization_config: {quantized!r:.80}), in a format that is not "
                "read. Load the original model; quantization = 'nf4' or 'int8' quantizes it while it is read."
            )
        family = FAMILIES[model_type]
        fields = family.read({**family.absent, **text})
        prefix = {"module_prefix": PREFIX} if is_wrapper(source) else {}
        return cls(model_type=model_type, architecture=family.architecture, source=dict(source), **{**fields, **prefix})

    def to_hf(self) -> dict[str, Any]:
        """Returns the `config.json` that this was read from.

        Raises:
            ConfigError: this was changed afterwards.
        """
        if not self.source or ModelConfig.from_hf(self.source) != self:
            raise ConfigError("this configuration was changed after it was read: change config.json, and read that.")
        return dict(self.source) if is_wrapper(self.source) else {**self.source, "architectures": [self.architecture]}

    @property
    def taps(self) -> int:
        """How many tokens, itself among them, a token reads in the longest convolution of the layers; 1 without any."""
        return max((part.taps for part in (self.conv, self.delta) if part is not None), default=1)

    @property
    def mixers(self) -> tuple[str, ...]:
        """The mixers of its layers other than attention, each once."""
        return tuple(dict.fromkeys(layer.mixer for layer in self.layers if layer.mixer != "attention"))

    @property
    def ropes(self) -> tuple[Rope, ...]:
        """The rotary embeddings of its layers, each once."""
        return tuple(dict.fromkeys(layer.rope for layer in self.layers if layer.rope is not None))
