"""Where an option is that was given in the wrong place, or by the name that another program has for it.

docs/migrating.md has the same tables with the reasons; a test holds one to the other.
"""

from collections.abc import Collection, Container, Mapping
from typing import Any, NamedTuple

from easydel.errors import nearest
from easydel.trainers.recipes import IN_RECIPES, NOT_IN_RECIPES


class Place(NamedTuple):
    """The option of a run that takes the place of another program's."""

    option: str
    remark: str = ""  # what must be known to write its value


RENAMED: Mapping[str, Place] = {
    # TRL 1.16, with what it inherits from transformers
    "output_dir": Place("save_directory", "model_name is the folder in it"),
    "run_name": Place("model_name"),
    "max_steps": Place("max_training_steps"),
    "per_device_train_batch_size": Place("total_batch_size", "over all devices and micro-batches"),
    "per_device_eval_batch_size": Place("eval_batch_size", "over all devices"),
    "optim": Place("optimizer"),
    "max_grad_norm": Place("clip_grad"),
    "bf16": Place("dtype", "bfloat16 where that is true"),
    "fp16": Place("dtype", "float16, or better bfloat16"),
    "tf32": Place("precision"),
    "activation_checkpointing": Place("gradient_checkpointing", "a policy such as nothing_saveable"),
    "logging_steps": Place("log_steps"),
    "logging_strategy": Place("log_steps", "a number of steps, or 'epoch'"),
    "logging_nan_inf_filter": Place("max_skipped_steps"),
    "disable_tqdm": Place("progress_bar_type", "none"),
    "eval_strategy": Place("evaluation_steps", "a number of steps, or 'epoch'"),
    "eval_steps": Place("evaluation_steps"),
    "eval_on_start": Place("evaluate_before_training"),
    "save_strategy": Place("save_steps", "a number of steps, 'epoch' or none; best is best_metric"),
    "load_best_model_at_end": Place("load_best_at_end"),
    "metric_for_best_model": Place("best_metric", "with its prefix, as in eval_loss"),
    "greater_is_better": Place("best_metric_greater"),
    "resume_from_checkpoint": Place("resume", "auto"),
    "data_seed": Place("seed"),
    "parallelism_config": Place("sharding_axis"),
    "fsdp": Place("sharding_axis"),
    "fsdp_config": Place("sharding_axis"),
    "deepspeed": Place("sharding_axis"),
    "ddp_timeout": Place("peer_timeout"),
    "local_rank": Place("process_id"),
    "train_sampling_strategy": Place("shuffle_train_dataset"),
    # The flags of `trl dpo`, and names of older versions
    "model_name_or_path": Place("repo_id"),
    "model_revision": Place("revision"),
    "torch_dtype": Place("dtype"),
    "attn_implementation": Place("attn_mechanism"),
    "use_peft": Place("lora_rank", "a rank makes adapters, none trains all weights"),
    "lora_r": Place("lora_rank"),
    "load_in_4bit": Place("quantization", "nf4 where that is true"),
    "load_in_8bit": Place("quantization", "int8 where that is true"),
    "dataset_train_split": Place("dataset_split"),
    "dataset_test_split": Place("eval_dataset_split"),
    "dataset_streaming": Place("streaming"),
    "evaluation_strategy": Place("evaluation_steps", "a number of steps, or 'epoch'"),
    "subset": Place("dataset_config"),
    "max_eval_samples": Place("max_samples", "of each dataset; max_evaluation_steps is of evaluation alone"),
    "max_target_length": Place("max_completion_length"),
    "generate_during_eval": Place("generation_prompts", "how many prompts to answer"),
    # EasyDeL 0.3
    "report_steps": Place("log_steps"),
    "report_metrics": Place("report_to"),
    "resume_if_possible": Place("resume", "auto"),
    "step_start_point": Place("resume", "auto"),
    "shuffle_seed_train": Place("seed"),
    "max_sequence_length": Place("max_length"),
    "per_epoch_training_steps": Place("max_training_steps", "of all epochs"),
    "per_epoch_evaluation_steps": Place("max_evaluation_steps"),
    "generation_num_prompts": Place("generation_prompts"),
    "quantization_mode": Place("quantization", "nf4 or int8, under adapters"),
    "tx_mu_dtype": Place("mu_dtype"),
    "aux_loss_enabled": Place("router_aux_loss_coef", "0 turns it off"),
    "auto_shard_states": Place("sharding_axis"),
    "step_partition_spec": Place("sharding_axis"),
    "jax_distributed_config": Place("coordinator_address"),
    "verbose": Place("progress_bar_type"),
    # Recipes of axolotl, LLaMA-Factory and open-instruct
    **{name: Place(*answer) for name, answer in IN_RECIPES.items()},
}

# Options of TRL, then of its command line, then of EasyDeL.
_NOT_HERE = """
padding_free pad_to_multiple_of pad_token model_init_kwargs trust_remote_code activation_offloading
average_tokens_across_devices auto_find_batch_size optim_args optim_target_modules label_smoothing_factor
bf16_full_eval fp16_full_eval gradient_checkpointing_kwargs activation_checkpointing_kwargs torch_compile
torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config use_cache neftune_noise_alpha
torch_empty_cache_steps logging_first_step log_on_each_node log_level log_level_replica
include_num_input_tokens_seen project trackio_space_id trackio_bucket_id trackio_static_space_id eval_delay do_train
do_eval do_predict prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps
batch_eval_metrics include_for_metrics save_only_model save_on_each_node enable_jit_checkpoint ignore_data_skip
restore_callback_states_from_checkpoint hub_token hub_strategy hub_always_push hub_revision full_determinism use_cpu
accelerator_config ddp_backend ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph
dataloader_drop_last dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order length_column_name
remove_unused_columns label_names debug skip_memory_metrics

ref_model_init_kwargs lora_target_parameters lora_modules_to_save lora_task_type bnb_4bit_quant_type
use_bnb_nested_quant bnb_4bit_quant_storage ignore_bias_buffers

trainer_prefix is_fine_tuning lmhead_chunksize logprob_vocab_chunk_size padding_value label_pad_token_id
is_encoder_decoder force_use_ref_model tools extra_optimizer_kwargs custom_scheduler training_time_limit
save_optimizer_state use_grain grain_shard_index grain_shard_count use_data_collator loss_config train_on_inputs
backend ids_to_pop_from_dataset init_tx log_all_workers process_zero_is_admin log_grad_norms quantization_group_size
quantization_bits quantization_block tensor_straight_through straight_through_emulator low_mem_usage
performance_mode offload_dataset offload_device_type offload_device_index model_parameters
metrics_to_show_in_rich_pbar track_memory generation_top_p generation_top_k generation_presence_penalty
generation_frequency_penalty generation_repetition_penalty generation_temperature generation_do_sample
generation_num_return_sequences generation_seed generation_extra_kwargs generation_config_overrides
generation_use_train_prompts generation_dataset_prompt_field generation_shard_inputs generation_preview_print
generation_log_to_wandb log_training_generations_to_wandb benchmark_interval benchmarks use_esurge_generation
esurge_use_tqdm esurge_hbm_utilization esurge_max_num_seqs esurge_max_num_seq_buckets esurge_min_input_pad
esurge_page_size esurge_silent_mode esurge_runner_verbose esurge_max_num_batched_tokens
esurge_enable_prefix_caching esurge_data_parallelism_axis pruning_module sparsify_module sparse_module_type
state_apply_fn_kwarguments_to_model force_step_start_point remove_ckpt_after_load save_tpu_preemption_checkpoints
merge_lora_before_tpu_preemption_save watchers weight_distribution_pattern weight_distribution_log_steps
"""
NOT_HERE = frozenset(_NOT_HERE.split()) | NOT_IN_RECIPES
"""Options of other programs whose place nothing takes."""

IN_PYTHON: Mapping[str, str] = {
    "repo_id": "the first argument of from_pretrained",
    "revision": "revision, an argument of from_pretrained",
    "dtype": "dtype, an argument of from_pretrained",
    "precision": "precision, an argument of from_pretrained",
    "sharding_axis": "sharding_axis_dims, an argument of from_pretrained",
    "attn_mechanism": "attn_mechanism, an argument of from_pretrained",
    "gradient_checkpointing": "gradient_checkpointing, an argument of from_pretrained",
    "quantization": "quantization, an argument of from_pretrained",
    "processor_repo_id": "processing_class, an argument of DPOTrainer",
    "reference_model_repo_id": "reference_model, an argument of DPOTrainer",
    "dataset_name": "train_dataset, an argument of DPOTrainer",
    "dataset_config": "config, an argument of load_rows (easydel.data.source)",
    "dataset_split": "split, an argument of load_rows (easydel.data.source)",
    "eval_dataset_name": "eval_dataset, an argument of DPOTrainer",
    "eval_dataset_config": "config, an argument of load_rows (easydel.data.source)",
    "eval_dataset_split": "split, an argument of load_rows (easydel.data.source)",
    "streaming": "stream_rows (easydel.data.source) in place of load_rows",
    "dataset_weights": "weights, an argument of mix (easydel.data.mix)",
    "dataset_stop": "stop, an argument of mix (easydel.data.mix)",
    "coordinator_address": "coordinator_address, an argument of easydel.processes.start",
    "num_processes": "num_processes, an argument of easydel.processes.start",
    "process_id": "process_id, an argument of easydel.processes.start",
    "peer_timeout": "peer_timeout, an argument of easydel.processes.start",
    "compilation_cache": "jax's own setting, jax_compilation_cache_dir",
    "huge_pages": "a flag of the command line only, which starts Python anew",
}
"""Where in Python those options are that load and place, and are no fields of `DPOConfig`."""


_NOTHING = " Nothing takes its place here; docs/migrating.md says why."


def unknown_options(
    given: Mapping[str, Any],
    known: Collection[str],
    otherwise: str,
    *,
    several: str = " of any of these names",
    flag: str = "",
) -> str:
    """Returns how an error goes on that says there is no such option, for all at once: a recipe has twenty.

    Args:
        given: the options that are not known, with their values; a null says nothing, whatever its option does.
        known: the options that may be given there.
        otherwise: the way out for a name that nothing is known of.
        several: what is written before a list of several.
        flag: what is written before an option there.

    >>> print("no option" + unknown_options({"bta": 1, "stage": "dpo", "rl": None}, ["beta"], ""))
    no option of any of these names:
      bta: Did you mean 'beta'?
      rl: It is null: leave it out.
      stage: Nothing takes its place here; docs/migrating.md says why.
    """
    said = {}
    for name, value in given.items():
        spelt = name.replace("-", "_") if flag else name
        near = nearest(f"{flag}{spelt}", [f"{flag}{each}" for each in known])
        hint = elsewhere(spelt, known, flag=flag) or (near.replace("'", "") if flag else near) or otherwise
        said[name] = hint if value is not None or hint == _NOTHING else " It is null: leave it out."
    if len(said) == 1:
        name, hint = next(iter(said.items()))
        return f" {flag}{name}.{hint}" if flag else f" {name!r}.{hint}"
    nothing = [f"{flag}{name}" for name, hint in said.items() if hint == _NOTHING]
    lines = [f"\n  {flag}{name}:{hint}" for name, hint in said.items() if hint != _NOTHING]
    lines += [f"\n  {', '.join(nothing)}:{_NOTHING}"] if nothing else []
    return f"{several}:{''.join(lines)}"


def elsewhere(name: str, known: Container[str], *, flag: str = "") -> str:
    """Returns what to say of an option that another program has, or another place, and `""` for any other name.

    Args:
        name: as it was given, and is not known.
        known: the options that may be given there.
        flag: what is written before an option there.

    >>> elsewhere("max_grad_norm", ["clip_grad"])
    ' Here it is clip_grad.'
    >>> elsewhere("load_in_4bit", ["quantization"], flag="--")
    ' Here it is --quantization: nf4 where that is true.'
    >>> elsewhere("bta", ["beta"])
    ''
    """
    if name not in RENAMED and name.startswith("no_") and (name[3:] in RENAMED or name[3:] in NOT_HERE):
        name = name[3:]  # how a flag is turned off
    if name in NOT_HERE:
        return _NOTHING
    option, remark = RENAMED.get(name, Place(name))
    if option in known:
        where = f"{flag}{option}"
    elif option in IN_PYTHON and not flag:
        where = IN_PYTHON[option]
    else:
        return ""
    return f" Here it is {where}{f': {remark}' if remark else ''}."
