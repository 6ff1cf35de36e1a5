"""The families with experts: what each `config.json` says of them, beside what it says of the rest of the model."""

from easydel.models.dense_families import mistral, olmo2, qwen3
from easydel.models.family_fields import Fields, common, indices, with_experts, with_types, with_window
from easydel.models.hf_config import Source, number, only
from easydel.models.kinds import Experts


def mixtral(source: Source) -> Fields:
    """Mixtral: Mistral with experts in every layer, and a window only where `sliding_window` is given."""
    only(source, "router_jitter_noise", 0.0, "noise on the input of the router")
    fields = mistral(source)
    experts = Experts(
        number=number(source, "num_local_experts", int, 8),
        per_token=number(source, "num_experts_per_tok", int, 2),
        size=fields["intermediate_size"],
        normalize=True,
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
        module="block_sparse_moe",
        projections=("w1", "w3", "w2"),
    )
    return with_experts(fields, experts, [True] * len(fields["layers"]))


def qwen3_moe(source: Source) -> Fields:
    """Qwen 3 with experts, in every `decoder_sparse_step`-th layer but those of `mlp_only_layers`."""
    fields = with_window(qwen3(source), source.get("sliding_window") if source.get("use_sliding_window") else None)
    # transformers 5 writes num_local_experts, 4 wrote num_experts.
    experts = Experts(
        number=number(source, "num_experts", int, number(source, "num_local_experts", int, 128)),
        per_token=number(source, "num_experts_per_tok", int, 8),
        size=number(source, "moe_intermediate_size", int, 768),
        normalize=bool(source.get("norm_topk_prob", False)),
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
    )
    return with_experts(fields, experts, _stepped(source, fields))


def qwen2_moe(source: Source) -> Fields:
    """Qwen 1.5 and 2 with experts, and one more that every token goes to, with a gate."""
    fields = common(source) | {"qkv_bias": bool(source.get("qkv_bias", True))}
    first = number(source, "max_window_layers", int, 28)
    windowed = [i % 2 == 0 and i < first for i in indices(fields)]
    fields = with_types(fields, source, ["sliding_attention" if each else "full_attention" for each in windowed])
    experts = Experts(
        number=number(source, "num_experts", int, 60),
        per_token=number(source, "num_experts_per_tok", int, 4),
        size=number(source, "moe_intermediate_size", int, 1408),
        normalize=bool(source.get("norm_topk_prob", False)),
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.001),
        shared=number(source, "shared_expert_intermediate_size", int, 5632),
        shared_gate=True,
    )
    return with_experts(fields, experts, _stepped(source, fields))


def olmoe(source: Source) -> Fields:
    """OLMoE: experts in all layers, and norms over the queries and keys of all heads."""
    only(source, "clip_qkv", None, "a bound of queries, keys and values")
    fields = olmo2(source) | {"pre_norm": True, "post_norm": False}
    experts = Experts(
        number=number(source, "num_experts", int, 64),
        per_token=number(source, "num_experts_per_tok", int, 8),
        size=fields["intermediate_size"],
        normalize=bool(source.get("norm_topk_prob", False)),
        aux_coefficient=number(source, "router_aux_loss_coef", float, 0.01),
    )
    return with_experts(fields, experts, [True for _ in indices(fields)])


def glm4_moe(source: Source) -> Fields:
    """GLM 4.5 to 4.7: chances by sigmoid with correction biases, groups, a shared expert; half of a head is turned."""
    fields = common(source, partial=True) | {
        "qkv_bias": bool(source.get("attention_bias", False)),
        "qk_norm": "head" if source.get("use_qk_norm") else "",
    }
    experts = Experts(
        number=number(source, "n_routed_experts", int, number(source, "num_local_experts", int, 128)),
        per_token=number(source, "num_experts_per_tok", int, 8),
        size=number(source, "moe_intermediate_size", int, 1408),
        normalize=bool(source.get("norm_topk_prob", True)),
        aux_coefficient=None,
        sigmoid=True,
        groups=number(source, "n_group", int, 1),
        groups_per_token=number(source, "topk_group", int, 1),
        scaling=number(source, "routed_scaling_factor", float, 1.0),
        shared=number(source, "n_shared_experts", int, 1) * number(source, "moe_intermediate_size", int, 1408),
        shared_module="shared_experts",
    )
    dense = number(source, "first_k_dense_replace", int, 1)
    return with_experts(fields, experts, [i >= dense for i in indices(fields)])


def _stepped(source: Source, fields: Fields) -> list[bool]:
    """Returns which layers have experts: every `decoder_sparse_step`-th but those of `mlp_only_layers`."""
    step, dense = number(source, "decoder_sparse_step", int, 1), source.get("mlp_only_layers") or ()
    return [i not in dense and (i + 1) % step == 0 for i in indices(fields)]
