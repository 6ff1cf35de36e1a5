"""The command of the DPO tutorial, flag by flag as it stands there; tests put local paths in place of hub names."""

COMMAND = """
  --repo_id meta-llama/Llama-3.1-8B-Instruct
  --dataset_name trl-lib/ultrafeedback_binarized
  --dataset_split "train[:90%]"
  --refrence_model_repo_id meta-llama/Llama-3.1-8B-Instruct
  --attn_mechanism vanilla
  --beta 0.08
  --loss_type sigmoid
  --max_length 2048
  --max_prompt_length 1024
  --total_batch_size 16
  --learning_rate 1e-6
  --log_steps 50
  --num_train_epochs 3
  --do_last_save
  --save_steps 1000
  --use_wandb
"""
