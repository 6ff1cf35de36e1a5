"""The configuration of a decoder: plain values, read from and written to a Hugging Face `config.json`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from easydel.errors import ConfigError, nearest
from easydel.models.value_types import check_types

_N = TypeVar("_N", int, float)
ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "relu")
# The settings each kind of rotary scaling must have, besides `rope_theta`.
ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
}


@dataclass(frozen=True)
class Rope:
    """How positions become angles; names and meaning as in `transformers` (`rope_parameters`)."""

    rope_type: str = "default"
    rope_theta: float = 10000.0
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True


@dataclass(frozen=True)
class ModelConfig:
    """Everything that tells one decoder from another; hashable, so it can be static under `jax.jit`.

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
    rope: Rope = Rope()
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    tie_word_embeddings: bool = False
    attention_dropout: float = 0.0
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None

    def __post_init__(self) -> None:
        positive = (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
        )
        for name in (*positive, "num_key_value_heads", "head_dim", "max_position_embeddings"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1.")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads ({self.num_attention_heads}) must be divisible by "
                f"num_key_value_heads ({self.num_key_value_heads})."
            )
        if self.head_dim % 2:
            raise ConfigError(f"head_dim ({self.head_dim}) must be even: rotary angles turn pairs of channels.")
        if not 0 <= self.attention_dropout < 1:
            raise ConfigError(f"attention_dropout ({self.attention_dropout}) must be in [0, 1).")
        if self.hidden_act not in ACTIVATIONS:
            raise _unsupported("hidden_act", str(self.hidden_act), ACTIVATIONS)

    @classmethod
    def from_hf(cls, source: Mapping[str, Any]) -> "ModelConfig":
        """Returns the configuration that a parsed `config.json` describes.

        Raises:
            ConfigError: a model type, rotary type or activation we do not support, a missing key, or sizes
                that do not fit together.
        """
        check_types(source)
        model_type = str(source.get("model_type"))
        if model_type not in FAMILIES:
            raise _unsupported("model_type", model_type, FAMILIES)
        return FAMILIES[model_type](source)

    def to_hf(self) -> dict[str, Any]:
        """Returns a `config.json`, with rotary settings in the spelling that `transformers` 4 and 5 both read."""
        same = {item.name: getattr(self, item.name) for item in fields(self)}
        own = ("architecture", "rope", "qkv_bias", "output_bias", "eos_token_id")
        written = {name: value for name, value in same.items() if name not in own}
        eos = list(self.eos_token_id)
        return {
            **written,
            "architectures": [self.architecture],
            "attention_bias": self.qkv_bias,
            "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
            "rope_theta": self.rope.rope_theta,
            "rope_scaling": _rope_scaling(self.rope),
        }


def _llama(source: Mapping[str, Any]) -> ModelConfig:
    bias = bool(source.get("attention_bias", False))
    return ModelConfig(
        **_common(source),
        architecture="LlamaForCausalLM",
        qkv_bias=bias,
        output_bias=bias,
        mlp_bias=bool(source.get("mlp_bias", False)),
    )


def _qwen2(source: Mapping[str, Any]) -> ModelConfig:
    if source.get("use_sliding_window") or "sliding_attention" in (source.get("layer_types") or ()):
        raise ConfigError(
            "config.json asks for sliding-window attention (use_sliding_window true), which is not supported "
            "for qwen2 yet. Set use_sliding_window to false if your rows are shorter than sliding_window "
            f"({source.get('sliding_window')}): the result is then the same."
        )
    return ModelConfig(**_common(source), architecture="Qwen2ForCausalLM", qkv_bias=True)


FAMILIES: dict[str, Callable[[Mapping[str, Any]], ModelConfig]] = {"llama": _llama, "qwen2": _qwen2}


def _common(source: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields that every family spells the same way."""
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in needed if source.get(name) is None]
    if missing:
        raise ConfigError(f"the configuration of a {source['model_type']} model lacks {', '.join(missing)}.")
    whole = {name: _number(source, name, int, 0) for name in needed}
    heads, hidden = whole["num_attention_heads"], whole["hidden_size"]
    if source.get("head_dim") is None and (heads < 1 or hidden % heads):
        raise ConfigError(
            f"hidden_size ({hidden}) must be divisible by num_attention_heads ({heads}) when head_dim is not given."
        )
    longest = _number(source, "max_position_embeddings", int, 2048)
    return {
        **whole,
        "model_type": source["model_type"],
        "num_key_value_heads": _number(source, "num_key_value_heads", int, heads),
        "head_dim": _number(source, "head_dim", int, hidden // max(heads, 1)),
        "max_position_embeddings": longest,
        "rope": _rope(source, longest),
        "hidden_act": source.get("hidden_act", "silu"),
        "rms_norm_eps": _number(source, "rms_norm_eps", float, 1e-6),
        "tie_word_embeddings": bool(source.get("tie_word_embeddings", False)),
        "attention_dropout": _number(source, "attention_dropout", float, 0.0),
        "initializer_range": _number(source, "initializer_range", float, 0.02),
        "bos_token_id": source.get("bos_token_id"),
        "eos_token_id": _token_ids(source.get("eos_token_id")),
        "pad_token_id": source.get("pad_token_id"),
    }


def _number(source: Mapping[str, Any], name: str, kind: type[_N], default: _N) -> _N:
    """The number of that name; `default` where there is none or null."""
    value = source.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or kind(value) != value:
        noun = "a whole number" if kind is int else "a number"
        raise ConfigError(f"{name} is {value!r}; it must be {noun}.")
    return kind(value)


def _token_ids(value: int | list[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(value)


def _rope(source: Mapping[str, Any], longest: int) -> Rope:
    """Returns the rotary settings of either spelling: `rope_theta` and `rope_scaling`, or `rope_parameters`."""
    given = dict(source.get("rope_scaling") or source.get("rope_parameters") or {})
    kind = given.pop("rope_type", None) or given.pop("type", None) or "default"
    given.pop("type", None)
    if kind not in ROPE_TYPES:
        raise _unsupported("rope_type", str(kind), ROPE_TYPES)
    if float(given.pop("partial_rotary_factor", None) or source.get("partial_rotary_factor") or 1.0) != 1.0:
        raise ConfigError("partial_rotary_factor other than 1.0 is not supported yet.")
    missing = [name for name in ROPE_TYPES[kind] if given.get(name) is None]
    if missing:
        raise ConfigError(f"The {kind!r} rope scaling of config.json lacks {', '.join(missing)}.")
    known = {item.name for item in fields(Rope)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ConfigError(
            f"The rope scaling of config.json has settings we do not know: {', '.join(unknown)}; "
            f"known are {', '.join(sorted(known))}."
        )
    settings = {name: value for name, value in given.items() if value is not None}
    settings.setdefault("rope_theta", float(source.get("rope_theta") or 10000.0))
    # `transformers` lets a value outside the rotary settings win over the one inside (Phi-3 writes it there).
    outside = source.get("original_max_position_embeddings")
    settings["original_max_position_embeddings"] = int(
        outside or settings.get("original_max_position_embeddings") or longest
    )
    return Rope(rope_type=kind, **settings)


def _rope_scaling(rope: Rope) -> dict[str, Any] | None:
    if rope.rope_type == "default":
        return None
    used = {
        "linear": ("factor",),
        "dynamic": ("factor",),
        "yarn": (
            *("factor", "original_max_position_embeddings", "beta_fast", "beta_slow"),
            *("attention_factor", "mscale", "mscale_all_dim", "truncate"),
        ),
        "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    }[rope.rope_type]
    values = {name: value for name, value in asdict(rope).items() if name in used and value is not None}
    return {"rope_type": rope.rope_type, **values}


def _unsupported(field: str, value: str, choices: Iterable[str]) -> ConfigError:
    names = sorted(choices)
    return ConfigError(f"{field} {value!r} is not supported.{nearest(value, names)} Supported: {', '.join(names)}.")
