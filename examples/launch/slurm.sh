#!/bin/bash
# sbatch examples/launch/slurm.sh --repo_id MODEL --dataset_name PAIRS.jsonl ...
# One process per GPU on two nodes. What SLURM tells its tasks is all that is needed to find each other. A job that is ended
# early (status 75: saved) goes back to the queue and continues, and so does one that lost a process, ten times.
#SBATCH --job-name=dpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

# SAVE_DIRECTORY is a folder that all nodes see. A process that fails alone is noticed by the others, and the status of srun is
# then that of the reason; one that hangs all the same is ended a minute after the first.
srun --kill-on-bad-exit=0 --wait=60 python -m easydel.scripts.finetune.dpo \
  --save_directory "${SAVE_DIRECTORY:-$SLURM_SUBMIT_DIR/dpo_runs}" \
  --resume auto --save_interval_minutes 30 --save_total_limit 2 "$@"
status=$?
case "$status" in
  0 | 2) ;;  # done, or an error that you can put right
  75) scontrol requeue "$SLURM_JOB_ID" ;;
  *) [ "${SLURM_RESTART_COUNT:-0}" -lt 10 ] && scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$status"
