"""What stands in place of the options that recipes of axolotl, LLaMA-Factory and open-instruct use.

Names that TRL has too are in `renamed.py`; docs/migrating.md has the tables with the reasons.
"""

from collections.abc import Mapping

_EPOCH = "a share of the run, 1 / (times per epoch x num_train_epochs), or 'epoch'"

IN_RECIPES: Mapping[str, tuple[str, ...]] = {
    # axolotl
    "base_model": ("repo_id",),
    "revision_of_model": ("revision",),
    "tokenizer_config": ("processor_repo_id",),
    "rl": ("loss_type", "sigmoid for dpo"),
    "rl_beta": ("beta",),
    "dpo_use_weighting": ("use_weighting",),
    "dpo_label_smoothing": ("label_smoothing",),
    "dpo_norm_loss": ("loss_type", "sigmoid_norm"),
    "dpo_generate_during_eval": ("generation_prompts", "how many prompts to answer"),
    "orpo_alpha": ("beta", "with loss_type orpo"),
    "datasets": ("dataset_name", "paths or names; columns renames their columns"),
    "test_datasets": ("eval_dataset_name",),
    "dataset_prepared_path": ("cache_directory",),
    "dataset_processes": ("dataset_num_proc",),
    "shuffle_merged_datasets": ("shuffle_train_dataset",),
    "val_set_size": ("test_split_size", "a share or a number of rows"),
    "sequence_len": ("max_length",),
    "max_prompt_len": ("max_prompt_length",),
    "adapter": ("lora_rank", "and quantization nf4 for qlora"),
    "lora_model_dir": ("repo_id", "the folder of the adapters"),
    "lora_target_linear": ("lora_target_modules", "all matrices unless told otherwise"),
    "peft_use_dora": ("use_dora",),
    "peft_use_rslora": ("use_rslora",),
    "use_tensorboard": ("report_to", "tensorboard"),
    "micro_batch_size": ("total_batch_size", "over all devices and micro-batches"),
    "batch_size": ("total_batch_size",),
    "num_epochs": ("num_train_epochs",),
    "lr_scheduler": ("scheduler",),
    "cosine_min_lr_ratio": ("lr_scheduler_kwargs", "min_lr_rate, with scheduler cosine_with_min_lr"),
    "auto_resume_from_checkpoints": ("resume", "auto"),
    "flash_attention": ("attn_mechanism", "auto"),
    "xformers_attention": ("attn_mechanism", "auto"),
    "sdp_attention": ("attn_mechanism", "sdpa"),
    "flex_attention": ("attn_mechanism", "auto"),
    "eager_attention": ("attn_mechanism", "vanilla"),
    "evals_per_epoch": ("evaluation_steps", _EPOCH),
    "saves_per_epoch": ("save_steps", _EPOCH),
    "eval_table_size": ("generation_prompts", "how many prompts to answer"),
    "eval_max_new_tokens": ("generation_max_new_tokens",),
    # LLaMA-Factory
    "finetuning_type": ("lora_rank", "for lora; full is without it, freeze is frozen_parameters"),
    "lora_target": ("lora_target_modules", "none for all"),
    "pref_beta": ("beta",),
    "pref_loss": ("loss_type",),
    "pref_ftx": ("rpo_alpha",),
    "pref_bco_weight": ("loss_weights", "with loss_type sigmoid and bco_pair"),
    "ref_model": ("reference_model_repo_id",),
    "dataset": ("dataset_name", "a path or a name on the hub"),
    "eval_dataset": ("eval_dataset_name", "a path or a name on the hub"),
    "cutoff_len": ("max_length",),
    "val_size": ("test_split_size", "a share or a number of rows"),
    "overwrite_cache": ("cache_directory", "none keeps nothing; what is kept is found by content, never stale"),
    "tokenized_path": ("cache_directory",),
    "preprocessing_num_workers": ("dataset_num_proc",),
    "mix_strategy": ("dataset_stop", "with dataset_weights"),
    "interleave_probs": ("dataset_weights",),
    "buffer_size": ("shuffle_buffer_size",),
    "eval_on_each_dataset": ("eval_dataset_name", "several sets as name=dataset"),
    "adapter_name_or_path": ("repo_id", "the folder of the adapters"),
    "freeze_trainable_layers": ("frozen_parameters", "a pattern of those that are not trained"),
    "freeze_trainable_modules": ("frozen_parameters", "a pattern of those that are not trained"),
    "quantization_bit": ("quantization", "nf4 for 4, int8 for 8"),
    "flash_attn": ("attn_mechanism", "auto"),
    "moe_aux_loss_coef": ("router_aux_loss_coef",),
    "disable_gradient_checkpointing": ("gradient_checkpointing", "off unless a policy is given"),
    "pure_bf16": ("param_dtype", "bfloat16"),
    "use_muon": ("optimizer", "muon"),
    "disable_shuffling": ("shuffle_train_dataset", "false"),
    "early_stopping_steps": ("early_stopping_patience",),
    # open-instruct
    "exp_name": ("model_name",),
    "dpo_beta": ("beta",),
    "dpo_loss_type": ("loss_type", "sigmoid for dpo, sigmoid_norm for dpo_norm; wpo is use_weighting"),
    "dpo_gamma_beta_ratio": ("simpo_gamma", "times beta"),
    "gamma_beta_ratio": ("simpo_gamma", "times beta"),
    "tokenizer_name": ("processor_repo_id",),
    "use_flash_attn": ("attn_mechanism", "auto"),
    "dataset_config_name": ("dataset_config",),
    "dataset_mixer": ("dataset_name", "several names; every row of each, unless dataset_weights says otherwise"),
    "dataset_mixer_list": ("dataset_name", "several names; every row of each, unless dataset_weights says otherwise"),
    "dataset_mixer_list_splits": ("dataset_split",),
    "mixer_list": ("dataset_name", "several names; every row of each, unless dataset_weights says otherwise"),
    "mixer_list_splits": ("dataset_split",),
    "train_file": ("dataset_name",),
    "max_train_samples": ("max_samples", "of each evaluation set too"),
    "max_seq_length": ("max_length",),
    "clip_grad_norm": ("clip_grad", "none in place of -1"),
    "use_lora": ("lora_rank",),
    "use_qlora": ("quantization", "nf4, with lora_rank"),
    "timeout": ("peer_timeout",),
    "with_tracking": ("report_to",),
    "save_to_hub": ("push_to_hub",),
    "hf_repo_id": ("hub_model_id",),
    "hf_entity": ("hub_model_id", "the part before the slash"),
    "max_train_steps": ("max_training_steps",),
    "checkpointing_steps": ("save_steps",),
    "keep_last_n_checkpoints": ("save_total_limit",),
    "load_balancing_loss": ("router_aux_loss_coef", "on where the model has it; 0 turns it off"),
    "load_balancing_weight": ("router_aux_loss_coef",),
    "target_columns": ("columns",),
    "dataset_target_columns": ("columns",),
    "local_cache_dir": ("cache_directory",),
    "dataset_local_cache_dir": ("cache_directory",),
    "reference_logprobs_cache_path": ("cache_directory",),
    "activation_memory_budget": ("gradient_checkpointing", "a policy such as nothing_saveable"),
    "zero_stage": ("sharding_axis",),
    "sequence_parallel_size": ("sharding_axis", "its last"),
}

# Of axolotl, then LLaMA-Factory, then open-instruct.
_NOT_IN_RECIPES = """
model_type tokenizer_type base_model_config strict chat_template special_tokens tokens sample_packing
eval_sample_packing pad_to_sequence_len excess_length_strategy dpo_padding_free dpo_use_logits_to_keep
dpo_use_liger_kernel skip_prepare_dataset dataset_exact_deduplication wandb_project wandb_watch wandb_log_model
wandb_mode wandb_run_id use_mlflow s2_attention cosine_constant_lr_ratio lr_quadratic_warmup group_by_length
save_first_step save_safetensors plugins lora_fan_in_fan_out lora_layers_to_transform lora_mlp_kernel lora_qkv_kernel
lora_o_kernel gc_steps

stage template dataset_dir media_dir preprocessing_batch_size packing neat_packing train_on_prompt mask_history
tool_format plot_loss overwrite_output_dir ref_model_adapters ref_model_quantization_bit create_new_adapter
additional_target loraplus_lr_ratio pissa_init freeze_extra_modules quantization_method double_quantization
rope_scaling enable_liger_kernel use_unsloth shift_attn upcast_layernorm use_badam use_galore use_apollo
use_adam_mini use_swanlab compute_accuracy include_effective_tokens_per_second use_fast_tokenizer resize_vocab
split_special_tokens cache_dir low_cpu_mem_usage

config_name tokenizer_revision chat_template_name use_slow_tokenizer dataset_mix_dir add_bos
use_8bit_optimizer dpo_use_paged_optimizer reduce_loss fused_optimizer concatenated_forward hf_repo_revision
hf_repo_url try_launch_beaker_eval_jobs try_auto_save_to_beaker hf_metadata_dataset gs_bucket_path oe_eval_tasks
oe_eval_max_length oe_eval_gpu_multiplier eval_workspace eval_priority transform_fn dataset_transform_fn cache_mode
dataset_cache_mode skip_cache dataset_skip_cache cache_dataset_only config_hash add_seed_and_date_to_exp_name
"""
NOT_IN_RECIPES = frozenset(_NOT_IN_RECIPES.split())
"""Options of these programs whose place nothing takes."""
