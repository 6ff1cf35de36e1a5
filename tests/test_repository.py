"""What holds for every file of the repository, whatever is in it."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFLICT = re.compile(rb"^(?:<{7} |={7}$|>{7} )", re.MULTILINE)


def tracked() -> list[Path]:
    """The files that git knows of; skips where the tests run without a checkout."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("there is no git, or no checkout")
    return [ROOT / name for name in listed.decode().split("\0") if name]


def test_no_file_holds_what_a_merge_left_unresolved():
    files = [path for path in tracked() if path.is_file()]
    assert ROOT / "README.md" in files
    assert [path for path in files if CONFLICT.search(path.read_bytes().replace(b"\r\n", b"\n"))] == []


@pytest.mark.parametrize("line", [b"<<<<<<< HEAD", b"=======", b">>>>>>> main"])
def test_a_mark_of_a_merge_is_found(line):
    assert CONFLICT.search(b"before\n" + line + b"\nafter\n")
    assert not CONFLICT.search(b"before " + line + b"\n")
