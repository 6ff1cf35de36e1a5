"""Errors in models: config.json, weights, adapters, what is asked of a loaded model."""

import dataclasses
import json
import shutil
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from easydel.models import auto
from easydel.models.auto import AutoEasyDeLModelForCausalLM
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.ops.attention import resolve_mechanism
from easydel.ops.mechanism import Needs
from easydel.sharding import make_mesh
from easydel.weights.model_files import read_folder
from easydel.weights.safetensors import read_file
from oracles.cases import CASES as MODELS
from oracles.errors import Case, Cases, Place
from oracles.folders import tensors_of, write_tensors
from oracles.folders_of_adapters import write_adapters
from oracles.tiny import ONE_DEVICE, tiny_model

SOURCE = MODELS["llama-gqa"]
QWEN_MOE = {**SOURCE, "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 1}
WINDOWS = ["sliding_attention"] * MODELS["gemma2"]["num_hidden_layers"]
PEFT = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}


def load(folder: Any, **options: Any) -> CausalLM:
    return AutoEasyDeLModelForCausalLM.from_pretrained(folder, **{"sharding_axis_dims": ONE_DEVICE, **options})


def loaded(**options: Any) -> Case:
    return lambda place: load(place.model, **options)


def config(**changes: Any) -> Case:
    return lambda place: ModelConfig.from_hf({**SOURCE, **changes})


def rope(**settings: Any) -> Case:
    return config(rope_scaling=settings)


def without(*names: str) -> Case:
    return lambda place: ModelConfig.from_hf({name: value for name, value in SOURCE.items() if name not in names})


def folder(name: str, text: str) -> Case:
    """A copy of the model folder, with other text in one of its files."""

    def read(place: Place) -> object:
        shutil.copytree(place.model, place.folder / "model")
        place.file(f"model/{name}", text)
        return load(place.folder / "model")

    return read


def tensors(change: Callable[[dict[str, np.ndarray]], Any], source: dict[str, Any] = SOURCE) -> Case:
    def read(place: Place) -> object:
        named = tensors_of(source)
        change(named)
        place.file("model/config.json", json.dumps(source))
        write_tensors(place.folder / "model", named)
        return load(place.folder / "model")

    return read


def weights(content: bytes) -> Case:
    return lambda place: read_folder(place.file("model.safetensors", content).parent)


def header(entry: Any, data: bytes = b"") -> Case:
    text = json.dumps({"x": entry} if entry is not None else []).encode()
    return weights(struct.pack("<Q", len(text)) + text + data)


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def index(text: str, *, shard: bool = False) -> Case:
    def read(place: Place) -> object:
        if shard:
            write_tensors(place.folder, {"x": np.ones(2, np.float32)})
            (place.folder / "model.safetensors").rename(place.folder / "a.safetensors")
        return read_folder(place.file("model.safetensors.index.json", text).parent)

    return read


def two_models(place: Place) -> object:
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_tensors(place.folder, {name: np.ones(2, np.float32), "x": np.full(2, value, np.float32)})
        (place.folder / "model.safetensors").rename(place.folder / f"{name}.safetensors")
    return index('{"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}')(place)


def adapters(**changes: Any) -> Case:
    """A folder of adapters with these settings, put on the tiny model."""

    def read(place: Place) -> object:
        kept = {name: value for name, value in {**PEFT, **changes}.items() if value is not None}
        return model().load_adapter(place.file("peft/adapter_config.json", json.dumps(kept)).parent)

    return read


def adapter_file(text: str | None) -> Case:
    def read(place: Place) -> object:
        (place.folder / "peft").mkdir()
        if text is not None:
            place.file("peft/adapter_config.json", text)
        return model().load_adapter(place.folder / "peft")

    return read


def other_adapters(place: Place) -> object:
    return model().load_adapter(write_adapters(place.folder / "peft", "lora"))


def changed_adapters(**changes: Any) -> Case:
    """Adapters of rank 2 on q_proj, with other settings than they were made with."""

    def read(place: Place) -> object:
        model().apply_lora(rank=2, target_modules=["q_proj"]).save_pretrained(place.folder / "peft")
        settings = json.loads((place.folder / "peft" / "adapter_config.json").read_text())
        place.file("peft/adapter_config.json", json.dumps({**settings, **changes}))
        return model().load_adapter(place.folder / "peft")

    return read


def whole_weights_beside(place: Place) -> object:
    folder = place.folder / "peft"
    model().apply_lora(rank=2, target_modules=["q_proj"]).save_pretrained(folder)
    held = {name: stored.array() for name, stored in read_file(folder / "adapter_model.safetensors").items()}
    write_tensors(folder, held | {"base_model.model.lm_head.weight": np.ones((2, 2), np.float32)})
    (folder / "model.safetensors").replace(folder / "adapter_model.safetensors")
    return model().load_adapter(folder)


def no_base(place: Place) -> object:
    place.file("peft/adapter_config.json", json.dumps(PEFT))
    return load(place.folder / "peft")


def little_memory(place: Place) -> object:
    usual = auto.available_bytes
    auto.available_bytes = lambda devices: 1000
    try:
        return load(place.model)
    finally:
        auto.available_bytes = usual


@cache
def model() -> CausalLM:
    return tiny_model()


def lora(**options: Any) -> Case:
    return lambda place: model().apply_lora(**{"rank": 2, **options})


def generate(**options: Any) -> Case:
    return lambda place: model().generate([[1, 2]], **{"max_new_tokens": 1, **options})


CASES: Cases = {
    "No model there": [
        lambda place: load("./nowhere"),
        lambda place: load(place.model / "config.json"),
        lambda place: load(place.file("empty/a.txt").parent),
        lambda place: load("owner/nowhere"),
        lambda place: read_folder(place.file("empty/a.txt").parent),
        lambda place: read_folder(place.file("pickled/pytorch_model.bin").parent),
        lambda place: read_folder(place.file("gguf/model.gguf").parent),
        lambda place: read_folder(place.file("shards/model-00001-of-00002.safetensors").parent),
        lambda place: read_folder(place.file("variant/model.fp16.safetensors").parent),
        lambda place: read_folder(place.file("named/config.json").parent, "../other.safetensors"),
        lambda place: read_folder(place.file("named/config.json").parent, "other.safetensors"),
    ],
    "A config.json that cannot be read": [
        folder("config.json", "{"),
        folder("config.json", "[]"),
        folder("config.json", json.dumps({**SOURCE, "vocab_size": 0})),
        without("hidden_size"),
        without("model_type"),
        config(vocab_size="many"),
        config(vocab_size=0),
        config(hidden_size=33),
        config(head_dim=3),
        config(head_dim=0),
        config(num_key_value_heads=3),
        config(attention_dropout=1.0),
        lambda place: ModelConfig.from_hf({**MODELS["qwen3-5"], "linear_num_value_heads": 3}),
        lambda place: ModelConfig.from_hf({**MODELS["gemma2"], "attn_logit_softcapping": -1.0}),
        lambda place: ModelConfig.from_hf({**MODELS["mistral"], "sliding_window": -4}),
        lambda place: ModelConfig.from_hf({**MODELS["gemma2"], "layer_types": ["full_attention"]}),
        lambda place: ModelConfig.from_hf(
            {**MODELS["smollm3"], "no_rope_layers": [1]},
        ),
        lambda place: ModelConfig.from_hf({**QWEN_MOE, "num_experts_per_tok": 9}),
        lambda place: ModelConfig.from_hf({**MODELS["gemma2"], "sliding_window": None, "layer_types": WINDOWS}),
        lambda place: dataclasses.replace(ModelConfig.from_hf(SOURCE), vocab_size=65).to_hf(),
    ],
    "Positions": [
        rope(rope_type="spiral"),
        rope(rope_type="linear"),
        rope(factor=2.0),
        rope(rope_type="linear", factor=2.0, color=1),
        config(partial_rotary_factor=0.5),
        config(max_position_embeddings=0),
        lambda place: ModelConfig.from_hf({**MODELS["phi3"], "partial_rotary_factor": 0.01}),
        lambda place: ModelConfig.from_hf(
            {
                **MODELS["phi3"],
                "rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]},
            }
        ),
    ],
    "A model that is not supported": [
        config(model_type="gpt_bigcode"),
        config(hidden_act="sine"),
        lambda place: ModelConfig.from_hf({**MODELS["exaone4"], "sliding_window_pattern": "LLXG"}),
        lambda place: ModelConfig.from_hf({**MODELS["olmoe"], "clip_qkv": 8.0}),
        config(model_type="llama4"),
        config(model_type="llama4", text_config={"model_type": "llama4_text"}),
        config(model_type="mistral3", text_config={"model_type": "deepseek_v3"}),
        lambda place: ModelConfig.from_hf({**MODELS["gemma3"], "use_bidirectional_attention": True}),
        lambda place: resolve_mechanism("sdpa", Needs("gpu", 64, "bfloat16", dropout_rate=0.1)),
        lambda place: resolve_mechanism("sdpa", Needs("gpu", 64, "bfloat16", score_cap=50.0)),
        lambda place: resolve_mechanism("cudnn", Needs("cpu", 64, "bfloat16")),
        lambda place: resolve_mechanism("splash", Needs("tpu", 64, "float32")),
        config(quantization_config={"quant_method": "gptq"}),
        folder("config.json", json.dumps({**SOURCE, "quantization_config": {"quant_method": "gptq"}})),
    ],
    "Weights that do not fit": [
        tensors(lambda named: named.pop("model.norm.weight")),
        tensors(lambda named: named.update({"model.norm.weight": np.ones(3, np.float32)})),
        tensors(lambda named: named.update({"model.norm.weight": np.ones(32, np.int8)})),
        tensors(
            lambda named: named.update({"lm_head.weight": named["model.embed_tokens.weight"] + 1}),
            MODELS["llama-mqa-tied"],
        ),
    ],
    "A file of weights that is cut short or damaged": [
        weights(b"123"),
        weights(struct.pack("<Q", 10**9) + b"{}"),
        weights(struct.pack("<Q", 100) + b"{}"),
        weights(struct.pack("<Q", 2) + b"{{"),
        header(None),
        header({"shape": []}),
        header(tensor(dtype="F4"), b"0" * 8),
        header(tensor(shape=(3,)), b"0" * 8),
        header(tensor(), b"0" * 5),
        header(tensor(), b"0" * 9),
        index("[]"),
        index('{"weight_map": {"x": "../a.safetensors"}}'),
        index('{"weight_map": ["a.safetensors"]}'),
        index('{"weight_map": {"x": "b.safetensors"}}'),
        index('{"weight_map": {"y": "a.safetensors"}}', shard=True),
        two_models,
    ],
    "Options of loading": [
        loaded(dtype="int8"),
        loaded(precision="exact"),
        loaded(precision=3),
        loaded(attn_mechanism="vanila"),
        loaded(gradient_checkpointing="nothing_savable"),
        loaded(config_kwargs={"dtyp": "float32"}),
        loaded(quantization="nf5"),
        loaded(revision="v2"),
        lambda place: load(place.model, quantization="nf4", dtype="float32").quantized("int8"),
    ],
    "Devices": [
        loaded(sharding_axis_dims=(1, 1)),
        loaded(sharding_axis_dims=(1, -1, -1, 1, 1)),
        loaded(sharding_axis_dims=(1, 99, 1, 1, 1)),
        loaded(sharding_axis_dims=(1, 1, 1, 8, 1)),
        loaded(sharding_axis_dims=(1, 1, 2, 1, 1)),
        lambda place: CausalLM.from_config(ModelConfig.from_hf(MODELS["lfm2"]), mesh=make_mesh((1, 1, 1, 1, 2))),
    ],
    "Memory": [little_memory],
    "Adapters": [
        lora(rank=0),
        lora(rank=2.5),
        lora(target_modules=[]),
        lora(rank=99),
        lora(alpha=0.0),
        lora(dropout=1.0),
        lora(target_modules=["q_prog"]),
        lora(target_modules=r"model\.layers\.0\..*"),
        lambda place: model().apply_lora(rank=2).apply_lora(rank=2),
        lambda place: model().save_pretrained(place.folder / "out", merge=True),
    ],
    "Folders of adapters": [
        adapter_file(None),
        adapter_file("{"),
        adapter_file("[]"),
        adapters(peft_type="IA3"),
        adapters(r=None),
        adapters(r="two"),
        adapters(modules_to_save=["lm_head"]),
        adapters(),
        other_adapters,
        changed_adapters(r=3),
        changed_adapters(rank_pattern={"layers.0.self_attn.q_proj": 3}),
        changed_adapters(target_modules=["q_proj", "k_proj"]),
        whole_weights_beside,
        no_base,
    ],
    "Generation": [
        generate(max_new_tokens=0),
        generate(temperature=-1.0),
        generate(temperature=1.0, top_p=0.0),
        generate(temperature=1.0, top_k=-1),
        generate(repetition_penalty=0.0),
        lambda place: model().generate([[1, 2]], [[0, 0]], max_new_tokens=1),
        generate(pad_token_id=99),
        lambda place: model()([[0.5]]),
        lambda place: model()([[999]]),
        lambda place: model()([[1, 2]], [[1]]),
    ],
}
