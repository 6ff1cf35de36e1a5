"""How layers differ besides their weights: rotary embedding, window, what mixes tokens, experts."""

from typing import NamedTuple

# The settings each kind of rotary scaling must have, besides `rope_theta`.
ROPE_TYPES = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "longrope": ("short_factor", "long_factor"),
}
# What lets the tokens of a layer know of each other.
MIXER_NAMES = ("attention", "conv", "delta")
# The norms on the residual stream, and on which side of mixer and MLP they stand.
NORMS = {
    **{"attention_norm": "before", "mlp_norm": "before"},
    **{"attention_post_norm": "behind", "mlp_post_norm": "behind"},
}


class Rope(NamedTuple):
    """How positions become angles; names and meaning as in `transformers` (`rope_parameters`).

    Attributes:
        dim: the channels of a head that are turned, the first ones.
        original_max_position_embeddings: what the scaling starts from; with `dynamic` the longest without scaling.
        temperature: b of 1 + b log(1 + floor(position / original)), which queries are multiplied by.
        attention_factor: of cosine and sine with `yarn` and `longrope`; None follows from `factor`.
    """

    dim: int
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
    short_factor: tuple[float, ...] = ()
    long_factor: tuple[float, ...] = ()
    temperature: float = 0.0


class Layer(NamedTuple):
    """One layer: `rope` None turns nothing, `window` None sees all, and `sparse` has experts for an MLP.

    A token sees a key of its sequence when `query position - key position < window`. `mixer` says what lets tokens know
    of each other: attention, or one of `easydel.models.mixers.MIXERS`. `norms` says which of the norms of the model on
    the residual stream a layer has: 'all', those 'before' mixer and MLP, or those 'behind'.
    """

    rope: Rope | None
    window: int | None = None
    sparse: bool = False
    mixer: str = "attention"
    norms: str = "all"


class ShortConv(NamedTuple):
    """The convolutions of the layers whose mixer is one: how many taps they have, and whether their matrices a bias."""

    taps: int
    bias: bool


class DeltaNet(NamedTuple):
    """The layers whose mixer is the gated delta rule.

    Attributes:
        key_heads, value_heads: heads of values share heads of keys in groups.
        key_dim, value_dim: the channels of a head.
        taps: of the convolutions of query, key and value.
        form: which of their matrices lie in one tensor: 'apart' none, 'fused' query, key and value, 'by_head' all that
            goes with a head of keys.
        rate_scale: factor of the rate, a sigmoid.
        norm_eps: of the norm behind.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    taps: int
    form: str
    rate_scale: float
    norm_eps: float


class Experts(NamedTuple):
    """The experts of the sparse layers.

    Attributes:
        number: how many there are.
        per_token: to how many a token goes.
        size: the width of each.
        normalize: whether the weights of a token's experts are made to sum to 1.
        aux_coefficient: of the loss that keeps them equally used, see `easydel.models.experts.balance`; None has none.
        sigmoid: each expert has a chance of its own, and a correction bias that counts for the choice alone.
        groups, groups_per_token: of experts, and how many of these the experts of a token are in.
        scaling: of what they make.
        shared: the width of an expert that every token goes to, 0 for none.
        shared_gate: whether a sigmoid of the token is multiplied with what that one makes.
        module, projections: what the files call the sparse MLP, and gate, up and down of an expert.
        shared_module: what they call the one that is shared.
    """

    number: int
    per_token: int
    size: int
    normalize: bool
    aux_coefficient: float | None
    module: str = "mlp"
    projections: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")
    sigmoid: bool = False
    groups: int = 1
    groups_per_token: int = 1
    scaling: float = 1.0
    shared: int = 0
    shared_gate: bool = False
    shared_module: str = "shared_expert"
