import copy
import dataclasses
import functools
import pickle
from pathlib import Path

import pytest

from easydel import losses
from easydel.errors import ConfigError
from easydel.trainers.config import MAY_CHANGE_ON_RESUME, DPOConfig
from easydel.trainers.options.fields import field_types, groups_of

pytestmark = pytest.mark.quick


def test_every_field_has_one_line_of_help_that_says_what_none_is():
    types = field_types(DPOConfig)
    for field in dataclasses.fields(DPOConfig):
        help = field.metadata["help"]
        assert help, field.name
        assert "\n" not in help, field.name
        assert ("(default: " in help) == (field.default is None), field.name
        assert ("none: " in help) == (field.default is not None and type(None) in types[field.name]), field.name


def test_the_groups_come_in_the_order_of_a_run():
    assert list(groups_of(DPOConfig)) == [
        *(
            "run",
            "saving",
            "logging",
            "loss",
            "reference",
            "lengths",
            "data",
            "batch",
            "optimizer",
            "schedule",
            "model",
        ),
        *("LoRA", "evaluation"),
    ]


def test_every_configuration_of_the_tutorial_is_accepted():
    whole = DPOConfig(
        model_name="DPOTrainer",
        learning_rate=1e-6,
        beta=0.1,
        loss_type="sigmoid",
        label_smoothing=0.0,
        max_length=512,
        max_prompt_length=256,
        max_completion_length=256,
        reference_free=False,
        sync_ref_model=False,
        ref_model_sync_steps=64,
        disable_dropout=True,
        total_batch_size=16,
        gradient_accumulation_steps=1,
    )
    assert whole.run_folder == Path("dpo_runs/DPOTrainer")
    usage = DPOConfig(
        model_name="dpo_example",
        save_directory="dpo_checkpoints",
        beta=0.1,
        loss_type="sigmoid",
        max_length=2048,
        max_prompt_length=1024,
        total_batch_size=16,
        learning_rate=1e-6,
        num_train_epochs=3,
        use_wandb=True,
    )
    assert usage.run_folder == Path("dpo_checkpoints/dpo_example")
    assert DPOConfig(loss_type="ipo", beta=0.2).beta == 0.2
    assert DPOConfig(sync_ref_model=True, ref_model_sync_steps=128, ref_model_mixup_alpha=0.9).sync_ref_model
    assert DPOConfig(reference_free=True).reference_free


@pytest.mark.parametrize("values", [{"beta": 0}, {"bta": 0.2}, {"loss_type": "simpo", "label_smoothing": 0.1}])
def test_what_cannot_work_is_an_error_from_python_a_dict_and_when_replaced(values):
    for make in (lambda: DPOConfig(**values), lambda: DPOConfig.from_dict(values)):
        with pytest.raises(ConfigError, match=next(reversed(values))):
            make()
    with pytest.raises(ConfigError, match=r"beta = -1\.0 must be above 0"):
        dataclasses.replace(DPOConfig(), beta=-1)


def test_what_may_change_on_resume_is_said_beside_each_field_and_nothing_of_it_changes_what_is_computed():
    groups = groups_of(DPOConfig)
    computed = {"loss", "lengths", "optimizer", "schedule"}
    assert not {field.name for title in computed for field, _ in groups[title]} & MAY_CHANGE_ON_RESUME
    assert {"save_steps", "log_steps", "evaluation_steps", "report_to", "resume"} <= MAY_CHANGE_ON_RESUME
    assert not {"seed", "total_batch_size", "reference_free", "lora_rank", "max_samples"} & MAY_CHANGE_ON_RESUME


def test_yaml_gives_back_the_same_configuration(tmp_path):
    config = DPOConfig(learning_rate=5e-7, max_prompt_length=12, scheduler="none", model_name="é run", save_steps=None)
    config.to_yaml(tmp_path / "run.yaml")
    assert DPOConfig.from_yaml(tmp_path / "run.yaml") == config
    assert DPOConfig.from_dict(config.to_dict()) == config


def test_yaml_reads_numbers_that_yaml_itself_takes_for_strings(tmp_path):
    (tmp_path / "run.yaml").write_text("learning_rate: 5e-7\nsave_steps: null\nmax_prompt_length: none\n")
    config = DPOConfig.from_yaml(tmp_path / "run.yaml")
    assert (config.learning_rate, config.save_steps, config.max_prompt_length) == (5e-7, None, None)


def test_an_empty_yaml_file_is_all_defaults(tmp_path):
    (tmp_path / "run.yaml").write_text("# nothing\n")
    assert DPOConfig.from_yaml(tmp_path / "run.yaml") == DPOConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bta: 0.2", "unknown option 'bta'. Did you mean 'beta'?"),
        ("beta: -1", "beta = -1.0 must be above 0"),
        ("- beta", "must hold 'name: value' lines, but holds a list"),
        ("beta: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_yaml_file_names_the_file(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        DPOConfig.from_yaml(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_yaml_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"Cannot read the configuration .*missing\.yaml"):
        DPOConfig.from_yaml(tmp_path / "missing.yaml")


def test_a_loss_function_of_your_own_is_written_by_its_name():
    assert DPOConfig(loss_type=losses.LOSSES["hinge"]).to_dict()["loss_type"].startswith("easydel.losses.margin:")
    partial = DPOConfig(loss_type=functools.partial(losses.LOSSES["hinge"]))
    assert partial.to_dict()["loss_type"] == "functools:partial"


def test_the_name_of_a_loss_function_cannot_be_read_back(tmp_path):
    DPOConfig(loss_type=losses.LOSSES["hinge"]).to_yaml(tmp_path / "run.yaml")
    said = r"run\.yaml: loss_type = 'easydel\.losses\.margin:.* cannot be read from a string"
    with pytest.raises(ConfigError, match=said):
        DPOConfig.from_yaml(tmp_path / "run.yaml")


def test_a_configuration_is_a_value():
    config = DPOConfig(beta=0.2)
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert hash(config) == hash(DPOConfig(beta=0.2))
    assert dataclasses.replace(config, beta=0.3).beta == 0.3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.beta = 0.3  # pyright: ignore[reportAttributeAccessIssue]
