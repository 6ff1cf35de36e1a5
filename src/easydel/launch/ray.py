"""Several processes on a Ray cluster: `python -m easydel.launch.ray --workers 2 --repo_id ... --dataset_name ...`.

Ray Train starts the workers, and starts them again after a failure; they join each other as processes do everywhere.
What follows `--workers N` and `--gpu` (one for each worker) goes to `easydel.scripts.finetune.dpo`.
"""

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from easydel import processes
from easydel.errors import ConfigError
from easydel.scripts.finetune import dpo

RESTARTS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """Trains on the workers and returns 0, 2 for an error that the user can put right; what ends them Ray raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) < 2 or arguments[0] != "--workers" or not arguments[1].isdigit() or int(arguments[1]) < 1:
        print("usage: python -m easydel.launch.ray --workers N [--gpu] [arguments of the training]", file=sys.stderr)
        return 2
    gpu = arguments[2:3] == ["--gpu"]
    try:
        train(arguments[3:] if gpu else arguments[2:], workers=int(arguments[1]), gpu=gpu)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def train(argv: Sequence[str], *, workers: int, gpu: bool = False) -> Any:
    """Returns the result of Ray for a training with these arguments of the command line, by `workers` workers.

    `--resume auto` in `argv` makes a training that Ray starts again continue. The folder this is called in must be one
    that all workers see, as paths may be relative to it; what Ray itself keeps goes to `.ray` in save_directory.

    Raises:
        ConfigError: arguments that cannot work, found here before Ray is asked for anything; or there is no Ray.
    """
    _, config = dpo.parse(argv)
    try:  # an extra, and slow to import
        from ray.train import FailureConfig, RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
        from ray.train.v2.jax import JaxTrainer  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"Ray Train is not installed ({error}): install it with `pip install 'easydel-dpo[ray]'`."
        ) from error

    trainer = JaxTrainer(
        _work,
        train_loop_config={"argv": list(argv), "workers": workers, "folder": os.getcwd()},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpu),
        run_config=RunConfig(
            name=config.model_name,
            storage_path=str(Path(config.save_directory).absolute() / ".ray"),
            failure_config=FailureConfig(max_failures=RESTARTS),
        ),
    )
    return trainer.fit()


def _work(settings: dict[str, Any]) -> None:
    """Joins the other workers and trains; on CPU Ray starts them without joining them."""
    import ray.train  # pyright: ignore[reportMissingImports]
    import ray.train.collective  # pyright: ignore[reportMissingImports]

    context = ray.train.get_context()
    address = ray.train.collective.broadcast_from_rank_zero(_free_address())
    processes.start(address, context.get_world_size(), context.get_world_rank())
    if processes.count() != settings["workers"]:
        raise ConfigError(
            f"{settings['workers']} workers were asked for and {processes.count()} have joined: each would train "
            "a model of its own."
        )
    os.chdir(settings["folder"])  # Ray starts its workers elsewhere
    status = dpo.main(settings["argv"])
    if status:
        raise RuntimeError(f"the training ended with status {status}; its messages are above.")


def _free_address() -> str:
    """Returns an address of this machine with a port that nobody listens at."""
    host = socket.gethostbyname(socket.gethostname())
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"{host}:{probe.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
