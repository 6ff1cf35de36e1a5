"""What else than settings decides the numbers of a run is compared when it is continued, and nothing besides."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import monitoring

import easydel as ed
from easydel.models.causal_lm import CausalLM
from easydel.models.config import ModelConfig
from easydel.sharding import make_mesh
from easydel.trainers.config import MAY_CHANGE_ON_RESUME
from easydel.trainers.record import same_run
from easydel.trainers.record.run_folder import hold, open_run_folder
from oracles.runs import TINY, config, id_rows, tiny_model
from oracles.tokenizers import EOS, tiny_tokenizer

PLAIN = "{% for message in messages %}{{ message.content }}</s>{% endfor %}"
CHATS = [
    {
        "prompt": [{"role": "user", "content": f"say {letter}"}],
        "chosen": [{"role": "assistant", "content": letter}],
        "rejected": [{"role": "assistant", "content": "no"}],
    }
    for letter in "cdef"
]


def steep(policy: Any, reference: Any, lengths: Any, *, beta: float, by: float = 1.0) -> jax.Array:
    return -by * beta * (policy[:, 0] - policy[:, 1])


def other_loss(policy: Any, reference: Any, lengths: Any, *, beta: float, by: float = 1.0) -> jax.Array:
    return by * beta * (policy[:, 1] - policy[:, 0])


def trainer(folder: Path, model: CausalLM | None = None, **options: Any) -> ed.DPOTrainer:
    named = ("reference_model", "train_dataset", "eval_dataset", "processing_class")
    given = {"train_dataset": id_rows(4)} | {name: options.pop(name) for name in named if name in options}
    arguments = config(folder, **{"cache_directory": None, **options})
    return ed.DPOTrainer(arguments=arguments, model=model or tiny_model(), **given)


def begun(run: ed.DPOTrainer) -> None:
    """Leaves the folder of a run as it is before the first step."""
    assert run._plan.same_run is not None
    with hold(run.arguments):
        open_run_folder(run.arguments)
    run._plan.same_run.write(continues=False)


def computing(**changes: Any) -> CausalLM:
    model = tiny_model()
    return dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, **changes))


def configured(**changes: Any) -> CausalLM:
    return computing(config=ModelConfig.from_hf({**TINY.to_hf(), "eos_token_id": 1, **changes}))


def with_one_bit_changed(model: CausalLM) -> CausalLM:
    kernel = np.array(model.params["layers"]["down"]["kernel"])
    kernel[-1, 3, -1] = np.nextafter(kernel[-1, 3, -1], np.float32(9))
    layers = {**model.params["layers"], "down": {"kernel": jnp.asarray(kernel)}}
    return dataclasses.replace(model, params={**model.params, "layers": layers})


FROZEN = {"frozen_parameters": "layers", "loss_type": "simpo"}
BEST = {"eval_dataset": id_rows(3, seed=1), "best_metric": "eval_loss"}
HEX = "[0-9a-f]{16}"
# The run, what it is continued with instead, and what the error says of it.
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "dtype": ({}, {"model": computing(dtype=jnp.bfloat16)}, "dtype was float32, is bfloat16 now. Load the model as"),
    "precision": ({}, {"model": computing(precision="high")}, "precision was default, is high now"),
    "attention": (
        {},
        {"model": computing(attn_mechanism="vanilla")},
        "attn_mechanism was blockwise, is vanilla now",
    ),
    "dtype of the weights": (
        {},
        {"model": tiny_model(param_dtype=jnp.bfloat16)},
        "param_dtype was float32, is bfloat16 now",
    ),
    "quantization": (
        {"lora_rank": 2},
        {"model": tiny_model().quantized("nf4")},
        "quantization was none, is nf4 now",
    ),
    "another quantization": (
        {"lora_rank": 2, "model": tiny_model().quantized("int8")},
        {"model": tiny_model().quantized("nf4")},
        "quantization was int8, is nf4 now",
    ),
    "alpha of adapters on the model": (
        {"model": tiny_model().apply_lora(2, alpha=4)},
        {"model": tiny_model().apply_lora(2, alpha=8)},
        "adapters.alpha was 4.0, is 8.0 now. Give it the model",
    ),
    "dropout of adapters on the model": (
        {"model": tiny_model().apply_lora(2)},
        {"model": tiny_model().apply_lora(2, dropout=0.5)},
        "adapters.dropout was 0.0, is 0.5 now",
    ),
    "adapters on the model, or none": (
        {"model": tiny_model().apply_lora(2)},
        {"model": tiny_model()},
        "/dpo: adapters were of rank 2, are none now. Give",
    ),
    "norm": ({}, {"model": configured(rms_norm_eps=1e-3)}, "model.rms_norm_eps was 1e-06, is 0.001 now"),
    "rotary embedding": ({}, {"model": configured(rope_theta=500.0)}, r"model.layers.rope was .*, is .*=500.0.* now"),
    "chat template": (
        {
            "processing_class": tiny_tokenizer(chat_template=PLAIN),
            "train_dataset": CHATS,
            "model": tiny_model(eos_token_id=EOS),
        },
        {"processing_class": tiny_tokenizer(chat_template=PLAIN.replace("</s>", ".</s>"))},
        f"training pairs were {HEX}, are {HEX} now. Give it the same data and tokenizer",
    ),
    "one training row": (
        {},
        {"train_dataset": [*id_rows(3), {"prompt_ids": [2], "chosen_ids": [3, 1], "rejected_ids": [1]}]},
        f"training pairs were {HEX}, are {HEX} now",
    ),
    "eval rows that the best is chosen by": (
        BEST,
        {"eval_dataset": id_rows(3, seed=2)},
        f"eval pairs of eval were {HEX}, are {HEX} now",
    ),
    "how many eval rows the best is chosen by": (
        {**BEST, "max_evaluation_steps": 2, "eval_batch_size": 1},
        {"max_evaluation_steps": 1},
        "max_evaluation_steps was 2, is 1 now",
    ),
    "size of eval batches that the best is chosen by": (BEST, {"eval_batch_size": 1}, "eval_batch_size was None, is 1"),
    "code of a loss": ({"loss_type": steep}, {"loss_type": other_loss}, f"loss code was {HEX}, is {HEX} now"),
    "bound argument of a loss": (
        {"loss_type": partial(steep, by=1.0)},
        {"loss_type": partial(steep, by=5.0)},
        "loss arguments were by=1.0, by=1.0, are by=5.0, by=1.0 now. Give it the loss function it started with",
    ),
    "bound argument of one of two losses": (
        {"loss_type": ["hinge", partial(steep, by=1.0)]},
        {"loss_type": ["hinge", partial(steep, by=5.0)]},
        "loss arguments of loss 2 were by=1.0, by=1.0, are by=5.0, by=1.0 now",
    ),
    "one bit of the reference": (
        {"reference_model": tiny_model(seed=3)},
        {"reference_model": with_one_bit_changed(tiny_model(seed=3))},
        f"reference weights were {HEX}, are {HEX} now. Give it the model",
    ),
    "one bit of the initial policy, which is the reference": (
        {},
        {"model": with_one_bit_changed(tiny_model())},
        f"reference weights were {HEX}, are {HEX} now",
    ),
    "one bit of what is frozen": (
        FROZEN,
        {"model": with_one_bit_changed(tiny_model())},
        f"frozen weights were {HEX}, are {HEX} now",
    ),
    "one bit of the base of adapters, of which a moving reference moves nothing": (
        {"lora_rank": 2, "sync_ref_model": True, "ref_model_sync_steps": 1},
        {"model": with_one_bit_changed(tiny_model())},
        f"frozen weights were {HEX}, are {HEX} now; reference weights were {HEX}, are {HEX} now",
    ),
    "dtype of the reference alone": (
        {"reference_model": tiny_model(seed=3)},
        {"reference_model": tiny_model(seed=3, dtype=jnp.bfloat16)},
        "/dpo: reference_model dtype was float32, is bfloat16 now",
    ),
}
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "what the backward pass keeps": ({}, {"model": computing(gradient_checkpointing="nothing_saveable")}),
    "layers in a loop or not": ({}, {"model": computing(scan_layers=False)}),
    "a mesh of two devices": ({}, {"model": CausalLM.from_config(TINY, mesh=make_mesh((1, 2, 1, 1, 1)))}),
    "eval rows that decide nothing": ({"eval_dataset": id_rows(3, seed=1)}, {"eval_dataset": id_rows(3, seed=2)}),
    "a weight that training changes, without a reference": (
        {"loss_type": "simpo"},
        {"model": with_one_bit_changed(tiny_model())},
    ),
    "new adapters of the user's, drawn by another seed": (
        {"model": tiny_model().apply_lora(2, seed=0)},
        {"model": tiny_model().apply_lora(2, seed=1)},
    ),
    "one loss as a list": ({"loss_type": "hinge"}, {"loss_type": ["hinge"], "loss_weights": [1.0]}),
    "the default of lora_alpha, and its value": ({"lora_rank": 2}, {"lora_alpha": 4}),
    "a reference that is the initial policy, and none": ({"reference_model": tiny_model()}, {"reference_model": None}),
    "a precision by its other name": (
        {"model": computing(precision="default")},
        {"model": computing(precision=None)},
    ),
    "a loss that is another function of the same code": (
        {"loss_type": lambda policy, reference, lengths: policy[:, 0]},
        {"loss_type": lambda policy, reference, lengths: policy[:, 0]},  # on another line
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_decides_the_numbers_is_named_with_what_it_was_and_is(what: str, tmp_path: Path):
    before, change, message = REFUSED[what]
    begun(trainer(tmp_path, **before))
    with pytest.raises(ed.ConfigError, match=message) as error:
        trainer(tmp_path, **{**before, **change, "resume": "auto"})
    assert "choose another model_name, or set resume = 'never'" in str(error.value)


@pytest.mark.parametrize("what", SAME)
def test_what_does_not_decide_them_is_not_asked_about(what: str, tmp_path: Path):
    before, change = SAME[what]
    begun(trainer(tmp_path, **before))
    trainer(tmp_path, **{**before, **change, "resume": "auto"})


def test_a_reference_that_differs_with_the_policy_is_said_once(tmp_path: Path):
    begun(trainer(tmp_path))
    with pytest.raises(ed.ConfigError, match=r"/dpo: dtype was float32, is bfloat16 now\. Load"):
        trainer(tmp_path, computing(dtype=jnp.bfloat16), resume="auto")


@pytest.mark.parametrize("name", ["jax_enable_x64", "jax_default_prng_impl", "jax_default_matmul_precision"])
def test_settings_of_jax_are_compared(name: str, tmp_path: Path):
    begun(trainer(tmp_path))
    other = {"jax_enable_x64": True, "jax_default_prng_impl": "rbg", "jax_default_matmul_precision": "highest"}[name]
    usual = getattr(jax.config, name)
    model = tiny_model()
    jax.config.update(name, other)
    try:
        shown = "precision was default, is highest" if name.endswith("precision") else f"{name} was {usual}, is {other}"
        with pytest.raises(ed.ConfigError, match=shown):
            trainer(tmp_path, model, resume="auto")
    finally:
        jax.config.update(name, usual)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = folder / "dpo" / "fingerprints.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_mechanism_that_cannot_be_had_here_gives_way_to_one_that_can(tmp_path: Path):
    begun(trainer(tmp_path))
    rewritten(tmp_path, lambda content: content["facts"].update({"attn_mechanism": "splash"}))
    trainer(tmp_path, resume="auto")


def test_a_folder_of_an_earlier_version_has_less_to_compare(tmp_path: Path):
    begun(trainer(tmp_path))
    (tmp_path / "dpo" / "fingerprints.json").unlink()
    trainer(tmp_path, computing(dtype=jnp.bfloat16), resume="auto")


def test_other_versions_of_libraries_are_said_and_under_another_python_code_is_not_compared(tmp_path: Path):
    begun(trainer(tmp_path, loss_type=partial(steep, by=2.0)))
    same = trainer(tmp_path, loss_type=partial(steep, by=2.0), resume="auto")._plan.same_run
    assert same is not None
    assert same.other_libraries() == ""
    rewritten(tmp_path, lambda content: content["written_by"].update(python="3.10", jax="0.4.1"))
    other = trainer(tmp_path, loss_type=partial(other_loss, by=2.0), resume="auto")._plan.same_run
    assert other is not None
    assert f"The run was trained with jax 0.4.1 (now {jax.__version__}), python 3.10" in other.other_libraries()
    with pytest.raises(ed.ConfigError, match=r"loss arguments were by=2\.0"):
        trainer(tmp_path, loss_type=partial(steep, by=3.0), resume="auto")


def test_facts_of_another_version_stay_where_they_are(tmp_path: Path):
    begun(trainer(tmp_path))
    rewritten(tmp_path, lambda content: content["facts"].update({"phase of the moon": "full"}))
    again = trainer(tmp_path, resume="auto")
    assert again._plan.same_run is not None
    again._plan.same_run.write(continues=True)
    assert json.loads((tmp_path / "dpo" / "fingerprints.json").read_text())["facts"]["phase of the moon"] == "full"


def test_a_run_that_was_begun_there_since_is_compared_before_anything_is_written(tmp_path: Path):
    late = trainer(tmp_path, computing(dtype=jnp.bfloat16), resume="auto")
    begun(trainer(tmp_path))
    before = (tmp_path / "dpo" / "fingerprints.json").read_text()
    with pytest.raises(ed.ConfigError, match="dtype was float32, is bfloat16 now"):
        late.train()
    assert (tmp_path / "dpo" / "fingerprints.json").read_text() == before
    assert not (tmp_path / "dpo" / "checkpoints").exists()


class Rows(list):
    """Rows that count how often one is read."""

    read = 0

    def __iter__(self):
        for row in super().__iter__():
            self.read += 1
            yield row

    def __getitem__(self, at):
        self.read += 1
        return super().__getitem__(at)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.3}, "beta was 0.1, is 0.3 now"),
        ({"model": computing(precision="high")}, "precision was default"),
        ({"loss_type": other_loss}, "loss code was"),
        ({"model": tiny_model(seed=5)}, "reference weights were"),
        ({"max_training_steps": 1}, "step 2 in .*, past the 1 steps"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_another_run_is_found_before_a_row_is_read_or_a_program_compiled(change, message, tmp_path: Path):
    model, options = tiny_model(), {"loss_type": steep, "max_training_steps": 2}
    begun(trainer(tmp_path, model, train_dataset=id_rows(8), **options))
    (tmp_path / "dpo" / "checkpoints" / "2").mkdir(parents=True)
    rows, compiled = Rows(id_rows(8)), []
    watch = lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None  # noqa: E731
    monitoring.register_event_duration_secs_listener(watch)
    try:
        changed = {"model": model, **options, "resume": "auto", **change, "train_dataset": rows}
        with pytest.raises(ed.ConfigError, match=message):
            trainer(tmp_path, **changed)
        assert rows.read == 0
        assert compiled == []
        trainer(tmp_path, **{**changed, **options, "model": model, "beta": 0.1})
        assert rows.read > 0  # they count
    finally:
        monitoring.unregister_event_duration_listener(watch)


def test_every_fact_has_its_kind_and_its_way_out(tmp_path: Path):
    """All that is written down is in the table that the page of checkpoints has."""
    run = trainer(tmp_path, tiny_model().apply_lora(2), loss_type=[steep, other_loss], **BEST)
    begun(run)
    facts = json.loads((tmp_path / "dpo" / "fingerprints.json").read_text())["facts"]
    kinds = {kind for kind in same_run.FACTS for name in facts if same_run._kind(name) is same_run.FACTS[kind]}
    assert kinds == set(same_run.FACTS)


def test_the_page_of_checkpoints_lists_what_may_change_and_what_is_compared():
    page = (Path(__file__).parents[3] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    _, _, after = page.partition("**These options may change.**")
    listed = after.partition("\n\n")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(MAY_CHANGE_ON_RESUME)
    rows = re.findall(r"^\| `?([^|`]+)`? \| (.+) \|$", after.partition("| what | that is |")[2], re.MULTILINE)
    assert [(name.strip(), said) for name, said in rows[: len(same_run.FACTS)]] == [
        (name, fact.help) for name, fact in same_run.FACTS.items()
    ]


def test_a_run_whose_folder_was_renamed_linked_or_spelled_otherwise_goes_on(tmp_path: Path, monkeypatch):
    trainer(tmp_path / "runs", train_dataset=id_rows(20), max_training_steps=1).train()
    shutil.move(tmp_path / "runs" / "dpo", tmp_path / "runs" / "renamed")
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    for at, directory in enumerate(("runs", "./runs/", str(tmp_path / "link"), "link/../runs"), 2):
        arguments = config(Path("."), max_training_steps=at, resume="auto")
        arguments = dataclasses.replace(arguments, save_directory=directory, model_name="renamed")
        run = ed.DPOTrainer(arguments=arguments, model=tiny_model(), train_dataset=id_rows(20))
        assert run.train().steps == at
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["renamed"]
