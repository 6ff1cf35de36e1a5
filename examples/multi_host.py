"""One run of several processes, such as one for each GPU or host: the same script is started in each.

    srun --ntasks-per-node 1 python examples/multi_host.py

SLURM, Open MPI and TPU pods tell their processes about each other; elsewhere set JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID. Started alone, it is one process. `examples/launch` starts the command line so.
"""

import jax
from transformers import AutoTokenizer

import easydel as ed
from easydel import processes, quickstart
from easydel.data.source import load_rows

FULL_SIZE = False  # the line to change: a model and pairs from the hub, on GPUs

HUB = ("meta-llama/Llama-3.1-8B-Instruct", "trl-lib/ultrafeedback_binarized", jax.numpy.bfloat16)
BUILT_IN = (str(quickstart.model_folder()), str(quickstart.train_file()), jax.numpy.float32)


def main(save_directory: str = "dpo_runs", steps: int | None = None) -> ed.DPOTrainer:
    processes.start()  # before anything asks jax for a device
    folder, pairs, dtype = HUB if FULL_SIZE else BUILT_IN
    config = ed.DPOConfig(
        model_name="multi_host",
        save_directory=save_directory,  # a folder that all processes see
        resume="auto",  # a job that was ended goes on where it stood
        save_interval_minutes=30,
        save_total_limit=2,
        learning_rate=1e-6 if FULL_SIZE else 1e-4,
        max_length=1024 if FULL_SIZE else 128,
        max_training_steps=steps,
    )
    # (dp, fsdp, ep, tp, sp) over the devices of all processes: weights and rows are split over all of them.
    model = ed.AutoEasyDeLModelForCausalLM.from_pretrained(folder, dtype=dtype, sharding_axis_dims=(1, -1, 1, 1, 1))
    trainer = ed.DPOTrainer(
        arguments=config,
        model=model,
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=load_rows(pairs, split="train"),
    )
    result = trainer.train()
    if processes.is_first():
        print(f"{result.steps} steps on {jax.device_count()} devices of {processes.count()} processes")
    processes.stop()
    return trainer


if __name__ == "__main__":
    main()
