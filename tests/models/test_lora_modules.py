"""Which modules have adapters, by the names that users give them."""

import pytest

from easydel.errors import ConfigError
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.models.lora_modules import chosen_modules, linear_modules, short_names
from easydel.models.rows import weight_rows
from easydel.weights.table import Row
from oracles.cases import CASES
from oracles.tiny import tiny_config, tiny_model

ROWS = weight_rows(tiny_config())
ALL = [
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
]


@pytest.mark.parametrize(
    ("target_modules", "expected"),
    [
        (None, ALL),
        ("all-linear", ALL),
        (["all-linear"], ALL),
        ("q_proj", ALL[:1]),
        (["v_proj", "self_attn.q_proj"], [ALL[0], ALL[2]]),
        (r".*\.mlp\.(up|down)_proj", ALL[5:]),
        (r"model\.layers\.\d+\.self_attn\.[qk]_proj", ALL[:2]),
    ],
    ids=str,
)
def test_names_mean_what_they_mean_to_peft(target_modules, expected):
    chosen = chosen_modules(target_modules, ROWS, 2)
    assert list(chosen) == expected
    assert list(chosen_modules(short_names(chosen, ROWS), ROWS, 2)) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("phi3", ["self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"]),
        ("mixtral", [*ALL[:4], "block_sparse_moe.gate"]),
        ("qwen3-moe-mixed", [*ALL, "mlp.gate"]),
        (
            "qwen3-5",
            [
                *ALL,
                *(f"linear_attn.{name}" for name in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")),
            ],
        ),
        (
            "lfm2",
            [
                *ALL[:3],
                *("self_attn.out_proj", "conv.in_proj", "conv.out_proj"),
                *("feed_forward.w1", "feed_forward.w2", "feed_forward.w3"),
            ],
        ),
    ],
)
def test_experts_have_no_adapters(case, expected):
    assert sorted(linear_modules(weight_rows(ModelConfig.from_hf(CASES[case])))) == sorted(expected)


def test_routers_have_adapters_where_they_are_named_and_names_never_mean_experts():
    rows = weight_rows(ModelConfig.from_hf(CASES["qwen3-moe-mixed"]))
    assert "mlp.gate" not in chosen_modules("all-linear", rows, 5)
    assert list(chosen_modules(["q_proj", "gate"], rows, 5)) == ["self_attn.q_proj", "mlp.gate"]
    assert short_names(chosen_modules(["q_proj", "up_proj"], rows, 5), rows) == ("q_proj", "mlp.up_proj")


def test_whole_names_mean_a_module_where_all_its_layers_are_named():
    """As PEFT writes them for `all-linear` of a model of few layers."""
    names = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in range(2) for part in "qv"]
    assert list(chosen_modules(names, ROWS, 2)) == ["self_attn.q_proj", "self_attn.v_proj"]
    with pytest.raises(ConfigError, match=r"matches self_attn\.q_proj in 1 of 2 layers"):
        chosen_modules(names[1:], ROWS, 2)


@pytest.mark.parametrize("target_modules", [["q_proj", "up_porj"], "up_porj", "lm_head", ["embed_tokens"], "(", "proj"])
def test_a_target_that_is_not_there_is_an_error_that_lists_what_is(target_modules):
    with pytest.raises(
        ConfigError, match=r"is not a module that can have adapters.* There are self_attn\.q_proj, "
    ) as error:
        chosen_modules(target_modules, ROWS, 2)
    assert "mlp.down_proj; 'all-linear' takes all matrices but routers" in str(error.value)
    assert ("Did you mean 'up_proj'?" in str(error.value)) == ("up_porj" in target_modules)


def test_an_expression_for_some_of_the_layers_is_an_error():
    with pytest.raises(ConfigError, match=r"matches self_attn\.q_proj in 1 of 2 layers; adapters are in all"):
        chosen_modules(r"model\.layers\.1\..*q_proj", ROWS, 2)


def test_names_are_as_long_as_needed_to_mean_no_other_module():
    rows = [
        Row(f"model.layers.{{layer}}.{part}.proj.weight", ("layers", part, "kernel"), "mlp embed -> embed mlp")
        for part in ("one", "two")
    ]
    chosen = chosen_modules(["one.proj"], rows, 2)
    assert short_names(chosen, rows) == ("one.proj",)
    assert short_names(chosen_modules(["proj"], rows, 2), rows) == ("proj",)


@pytest.fixture(scope="module")
def base() -> CausalLM:
    return tiny_model()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 2.5}, r"rank of the adapters \(2.5\) must be an integer"),
        ({"rank": "8"}, r"\('8'\) must be an integer"),
        ({"rank": 2, "alpha": "x"}, r"alpha \('x'\) must be a number above 0"),
        ({"rank": 2, "target_modules": []}, "target_modules is empty: name modules"),
    ],
)
def test_settings_of_another_type_are_refused(base, options, message):
    with pytest.raises(ConfigError, match=message):
        base.apply_lora(**options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, r"the rank of the adapters \(0\) must be at least 1"),
        ({"rank": 9}, r"\(9\) is larger than self_attn\.k_proj, a matrix of 8 x 16: take at most 8"),
        ({"rank": 4, "alpha": 0}, r"alpha \(0\) must be a number above 0"),
        ({"rank": 4, "dropout": 1.0}, r"dropout of the adapters \(1\.0\) must be in \[0, 1\)"),
        ({"rank": 4, "target_modules": ["nope"]}, "'nope' is not a module"),
    ],
)
def test_adapters_that_cannot_be_are_refused(base, settings, message):
    with pytest.raises(ConfigError, match=message):
        base.apply_lora(**settings)
