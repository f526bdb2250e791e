"""How much memory this machine has, against what the system reports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepvis_caffe import memory


def test_it_is_what_the_kernel_says():
    info = Path("/proc/meminfo")
    if not info.exists():
        pytest.skip("no Linux")
    (total,) = (line.split()[1] for line in info.read_text().splitlines() if "MemTotal" in line)
    found = memory.machine_memory()
    assert found is not None
    assert 0 < found <= int(total) * 1024


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "absent"))
    without = memory.machine_memory()
    limit.write_text("max\n")
    assert memory.machine_memory() == without
    limit.write_text("4096\n")
    assert memory.machine_memory() == 4096


def test_bytes_as_text():
    assert memory.in_gib(2**30 * 5 // 2) == "2.5 GiB"
    assert memory.in_gib(2**50) == "1,048,576.0 GiB"


# Prints how many pages the system maps for a block of 100 MB that is allocated again, and whether
# the allocator was told to keep it.
AGAIN = """
import resource
from deepvis_caffe.memory import keep_freed_memory
kept = keep_freed_memory()
def write():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
write()
print(kept, write())
"""


@pytest.mark.process
@pytest.mark.parametrize("chosen", [{}, {"MALLOC_TRIM_THRESHOLD_": "100000"}])
def test_freed_memory_is_kept_unless_the_user_has_configured_the_allocator(
    chosen: dict[str, str],
) -> None:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", AGAIN],
        env={**plain, **chosen},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, mapped = done.stdout.split()
    if kept == "False" and not chosen:
        pytest.skip("another C library than glibc")
    assert (int(mapped) < 100) == (kept == "True") == (not chosen)
