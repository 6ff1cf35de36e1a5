import copy
import dataclasses
import functools
import pickle
from pathlib import Path

import pytest

from easydel import losses
from easydel.errors import ConfigError
from easydel.trainers.config import LOSS_TYPES, DPOConfig


def test_loss_names_are_those_of_the_losses():
    assert set(LOSS_TYPES) == set(losses.LOSSES)


def test_every_field_has_one_line_of_help_that_explains_none():
    for field in dataclasses.fields(DPOConfig):
        help = field.metadata["help"]
        assert help, field.name
        assert "\n" not in help, field.name
        assert ("none" in help) or field.default is not None, field.name


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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bta": 0.2}, "DPOConfig has no option 'bta'. Did you mean 'beta'?"),
        ({"zzzz": 1}, "DPOConfig has no option 'zzzz'. easydel-dpo --help explains those that it has: model_name, "),
        ({"max_steps": 9}, "DPOConfig has no option 'max_steps'. Here it is max_training_steps."),
        (
            {"bf16": True},
            "option 'bf16'. Here it is dtype, an argument of from_pretrained: bfloat16 where that is true.",
        ),
        ({"dtype": "bfloat16"}, "has no option 'dtype'. Here it is dtype, an argument of from_pretrained."),
        ({"tools": []}, "has no option 'tools'. Nothing takes its place here; docs/migrating.md says why."),
        ({"beta": 0}, "beta = 0.0 must be above 0."),
        ({"beta": None}, "beta = None is not allowed: the default is 0.1."),
        ({"beta": "high"}, "beta = 'high' must be a finite number."),
        ({"beta": float("nan")}, "beta = nan must be a finite number"),
        ({"learning_rate": float("inf")}, "learning_rate = inf must be a finite number"),
        ({"learning_rate": -1e-6}, "learning_rate = -1e-06 must be above 0."),
        ({"seed": True}, "seed = True must be a whole number; this is bool."),
        ({"seed": -1}, "seed = -1 must be at least 0."),
        ({"max_length": 512.5}, "max_length = 512.5 must be a whole number"),
        (
            {"save_steps": "often"},
            "save_steps = 'often' must be a whole number of steps, a share of the run below 1, 'epoch' or none.",
        ),
        ({"log_steps": "often"}, "must be a whole number of steps, a share of the run below 1 or 'epoch'."),
        ({"save_steps": 1.5}, "save_steps = 1.5 must be a whole number of steps, a share of the run below 1."),
        (
            {"warmup_steps": "epoch"},
            "warmup_steps = 'epoch' must be a whole number of steps, a share of the run below 1.",
        ),
        ({"evaluation_steps": -0.1}, "evaluation_steps = -0.1 must be above 0."),
        ({"num_train_epochs": 0}, "num_train_epochs = 0 must be above 0."),
        ({"warmup_ratio": 1.5}, "warmup_ratio = 1.5 must be at least 0 and at most 1."),
        ({"loss_type": "dpo_norm"}, "loss_type = 'dpo_norm' is none here: it is called 'sigmoid_norm'."),
        ({"use_wandb": 1}, "use_wandb = 1 must be true or false; this is int."),
        ({"model_name": 3}, "model_name = 3 must be text"),
        ({"loss_type": "sigmiod"}, "is not one of 'sigmoid',"),
        ({"loss_type": "sigmiod"}, "Did you mean 'sigmoid'?"),
        ({"loss_type": "mine.losses:wpo"}, "A function cannot be read from text: import it in Python and pass it as"),
        ({"max_length": 1}, "max_length = 1 must be at least 2."),
        ({"optimizer": "adamW"}, "Did you mean 'adamw'?"),
        ({"resume": "always"}, "is not one of 'never', 'auto'"),
        ({"label_smoothing": 0.5}, "label_smoothing = 0.5 must be at least 0 and below 0.5."),
        ({"loss_type": "exo_pair"}, "must be above 0 for loss_type 'exo_pair'"),
        ({"loss_type": "ipo", "label_smoothing": 0.1}, "has no meaning for loss_type 'ipo'"),
        ({"discopop_tau": 0.1}, "discopop_tau = 0.1 has no meaning for loss_type 'sigmoid'"),
        ({"ref_model_mixup_alpha": 1.5}, "must be at least 0 and at most 1"),
        ({"reference_free": True, "sync_ref_model": True}, "sync_ref_model = True needs a reference"),
        (
            {"max_length": 256, "max_prompt_length": 256},
            "max_prompt_length = 256 must be below max_length = 256",
        ),
        ({"total_batch_size": 16, "gradient_accumulation_steps": 3}, "must be divisible by"),
        ({"learning_rate_end": 0.0}, "has no meaning with scheduler 'none'"),
        ({"optimizer": "lion", "adam_epsilon": 1e-8}, "has no meaning for optimizer 'lion'"),
        ({"optimizer": "lion", "nu_dtype": "bfloat16"}, "nu_dtype = bfloat16 has no meaning for optimizer 'lion'"),
        ({"optimizer": "rmsprop", "mu_dtype": "bfloat16"}, "mu_dtype = bfloat16 has no meaning for optimizer"),
        ({"mu_dtype": "float16"}, "mu_dtype"),
        ({"model_name": "../x"}, "model_name = '../x' must be one plain folder name: write 'x'"),
        ({"model_name": "meta-llama/Llama"}, "write 'meta-llama-Llama', and put folders in save_directory"),
        ({"model_name": ".."}, "must be one plain folder name"),
        ({"model_name": ""}, "must be one plain folder name"),
    ],
)
def test_a_setting_that_cannot_work_is_an_error_that_says_why(values, message):
    with pytest.raises(ConfigError) as error:
        DPOConfig(**values)
    assert message in str(error.value)


def test_text_is_read_as_the_type_of_its_field():
    config = DPOConfig.from_dict(
        {
            "learning_rate": "5e-7",
            "max_length": "2048",
            "max_training_steps": "1e3",
            "use_wandb": "yes",
            "save_steps": "none",
            "beta": 1,
            "save_directory": Path("a") / "b",
        }
    )
    assert (config.learning_rate, config.max_length, config.max_training_steps) == (5e-7, 2048, 1000)
    assert config.use_wandb is True
    assert config.save_steps is None
    assert isinstance(config.beta, float)
    assert config.save_directory == str(Path("a/b"))


def test_steps_may_be_a_share_or_an_epoch_and_epochs_a_part():
    options = {"save_steps": "epoch", "log_steps": "0.1", "evaluation_steps": 5.0, "num_train_epochs": "1.5"}
    config = DPOConfig.from_dict(options | {"warmup_steps": 0.2})
    assert (config.save_steps, config.log_steps, config.evaluation_steps) == ("epoch", 0.1, 5)
    assert (config.num_train_epochs, config.warmup_steps) == (1.5, 0.2)
    assert isinstance(config.evaluation_steps, int)
    assert isinstance(DPOConfig(num_train_epochs=3.0).num_train_epochs, int)


def test_large_whole_numbers_are_not_rounded():
    assert DPOConfig(seed=2**60 + 1).seed == 2**60 + 1


def test_yaml_gives_back_the_same_configuration(tmp_path):
    config = DPOConfig(learning_rate=5e-7, max_prompt_length=12, scheduler="none", model_name="é run", save_steps=None)
    config.to_yaml(tmp_path / "run.yaml")
    assert DPOConfig.from_yaml(tmp_path / "run.yaml") == config
    assert DPOConfig.from_dict(config.to_dict()) == config


def test_yaml_reads_numbers_that_yaml_itself_takes_for_text(tmp_path):
    (tmp_path / "run.yaml").write_text("learning_rate: 5e-7\nsave_steps: null\nmax_prompt_length: none\n")
    config = DPOConfig.from_yaml(tmp_path / "run.yaml")
    assert (config.learning_rate, config.save_steps, config.max_prompt_length) == (5e-7, None, None)


def test_an_empty_yaml_file_is_all_defaults(tmp_path):
    (tmp_path / "run.yaml").write_text("# nothing\n")
    assert DPOConfig.from_yaml(tmp_path / "run.yaml") == DPOConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bta: 0.2", "has no option 'bta'. Did you mean 'beta'?"),
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


def test_a_loss_function_of_ones_own_is_written_by_its_name():
    assert DPOConfig(loss_type=losses.LOSSES["hinge"]).to_dict()["loss_type"].startswith("easydel.losses:")
    partial = DPOConfig(loss_type=functools.partial(losses.LOSSES["hinge"]))
    assert partial.to_dict()["loss_type"] == "functools:partial"


def test_the_name_of_a_loss_function_cannot_be_read_back(tmp_path):
    DPOConfig(loss_type=losses.LOSSES["hinge"]).to_yaml(tmp_path / "run.yaml")
    with pytest.raises(ConfigError, match=r"run\.yaml: loss_type = 'easydel\.losses:.* cannot be read from text"):
        DPOConfig.from_yaml(tmp_path / "run.yaml")


def test_each_of_the_three_lengths_may_be_without_a_limit():
    config = DPOConfig(max_length=None, max_prompt_length=4096, max_completion_length=None)
    assert (config.max_length, config.max_prompt_length) == (None, 4096)
    assert DPOConfig.from_dict({"max_length": "none"}).max_length is None


def test_a_configuration_is_a_value():
    config = DPOConfig(beta=0.2)
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert hash(config) == hash(DPOConfig(beta=0.2))
    assert dataclasses.replace(config, beta=0.3).beta == 0.3
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.beta = 0.3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_metric_greater": False}, "best_metric_greater = False needs best_metric"),
        ({"load_best_at_end": True}, "load_best_at_end = True needs best_metric"),
        ({"early_stopping_patience": 3, "evaluation_steps": 5}, "early_stopping_patience = 3 needs best_metric"),
        ({"early_stopping_patience": 3, "best_metric": "eval_loss"}, "early_stopping_patience = 3 needs evaluation_st"),
        ({"early_stopping_threshold": 0.1}, "early_stopping_threshold = 0.1 needs early_stopping_patience"),
        ({"early_stopping_threshold": -0.1}, "early_stopping_threshold = -0.1 must be at least 0"),
        ({"early_stopping_patience": 0}, "early_stopping_patience = 0 must be at least 1"),
        ({"generation_interval": 5}, "generation_interval = 5 needs generation_prompts"),
        ({"generation_interval": 0, "generation_prompts": 1}, "generation_interval = 0 must be above 0"),
    ],
)
def test_a_setting_of_evaluation_that_would_be_ignored_is_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(**options)


def test_columns_are_a_dict_pairs_of_a_command_line_or_a_mapping_of_yaml(tmp_path):
    wanted = {"prompt": "question", "chosen": "best", "ignore": ["notes", "context"]}
    pairs = ["prompt=question", "chosen=best", "ignore=notes", "ignore=context"]
    (tmp_path / "run.yaml").write_text("columns:\n  prompt: question\n  chosen: best\n  ignore: [notes, context]\n")
    for config in (
        DPOConfig(columns=wanted),
        DPOConfig(columns=",".join(pairs)),
        DPOConfig(columns=pairs),
        DPOConfig.from_yaml(tmp_path / "run.yaml"),
    ):
        assert config.columns == wanted
        config.to_yaml(tmp_path / "again.yaml")
        assert DPOConfig.from_yaml(tmp_path / "again.yaml") == config
    assert DPOConfig(columns="none").columns is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("prompt", "columns = 'prompt' must be name=value pairs, such as prompt=question; 'prompt' is none"),
        ({"promt": "question"}, "columns: 'promt' is not read from any row"),
        ({"prompt": 3}, "columns: prompt = 3 must be the name of a column"),
        (["prompt=a", "prompt=b"], r"columns: prompt = \['a', 'b'\] must be the name of a column"),
    ],
)
def test_columns_that_are_none_are_an_error(given, message):
    with pytest.raises(ConfigError, match=message):
        DPOConfig(columns=given)
