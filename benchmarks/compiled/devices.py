"""Devices that need not be here, as XLA wants to know of them."""

from collections.abc import Callable, Sequence
from typing import Any

# The limits of a streaming multiprocessor of compute capability 9.0 (CUDA C++ Programming Guide, technical
# specifications), and how many of them with how much memory an H200 SXM has (its data sheet). XLA lays out memory by
# them; what a program takes does not depend on clock rates, which only choose between kernels.
_H200 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H200"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  name: "NVIDIA H200"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: 151397597184
  memory_bandwidth: 4800000000000
  l2_cache_size: 52428800
  device_address_bits: 64
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}
"""


def _gpu(description: str) -> Sequence[Any]:
    from jax.experimental import topologies

    return topologies.get_topology_desc("described", "cuda", target_config=description, topology="1x1x1").devices


def _tpu(topology: str) -> Sequence[Any]:
    from jax.experimental import topologies

    return topologies.get_topology_desc(topology, "tpu").devices


DEVICES: dict[str, Callable[[], Sequence[Any]]] = {
    "H200": lambda: _gpu(_H200),
    "v5e": lambda: _tpu("v5e:2x2"),
    "v6e": lambda: _tpu("v6e:2x2"),
}

# What libtpu asks of a machine without a TPU, which it would otherwise look for.
SETTINGS: dict[str, dict[str, str]] = {
    "H200": {},
    "v5e": {"TPU_ACCELERATOR_TYPE": "v5litepod-4"},
    "v6e": {"TPU_ACCELERATOR_TYPE": "v6e-4"},
}
WITHOUT_A_TPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
