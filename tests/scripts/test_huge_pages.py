import os
import subprocess
import sys

from easydel.scripts.huge_pages import with_huge_pages

SCRIPT = """
import os, sys
from easydel.scripts.huge_pages import start_over
start_over()
print(os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""


def test_a_setting_of_the_user_is_left_alone_and_others_are_kept():
    assert with_huge_pages({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "[always]") is None
    kept = with_huge_pages({"A": "b", "GLIBC_TUNABLES": "glibc.malloc.check=1"}, "[always]")
    assert kept == {"A": "b", "GLIBC_TUNABLES": "glibc.malloc.check=1:glibc.malloc.hugetlb=1"}


def test_the_process_starts_over_once_as_itself_with_its_arguments():
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-c", SCRIPT, "--flag", "a b"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        out = process.communicate(timeout=60)[0].split(" ", 1)
    assert process.returncode == 0
    assert int(out[0]) == process.pid  # replaced, not a child that would be left behind
    assert out[1].startswith("['--flag', 'a b']")
