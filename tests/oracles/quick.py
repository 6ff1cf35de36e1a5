"""How programs are compiled that a test runs a few times: compiling is most of its time.

XLA's emitters and LLVM at their best take three quarters of it. What is left out changes roundings, and a program that
computes for long computes longer.
"""

_LESS = ("backend_optimization_level=0", "cpu_use_fusion_emitters=false", "cpu_parallel_codegen_split_count=1")
QUICK = "".join(f" --xla_{flag}" for flag in _LESS)  # behind other XLA_FLAGS
