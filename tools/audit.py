"""Check with pip-audit which packages that `make` installs have known vulnerabilities.

The data come from the package index in use. If it has none, this says so and fails: an audit that
did not happen must not look like one that found nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "requirements"


def audited(path: Path) -> list[dict]:
    """pip-audit's report on each package in a file; empty if it gave no answer."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--require-hashes", "--disable-pip", "--requirement", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(ran.stdout)["dependencies"]
    except ValueError:
        print(ran.stderr.strip().splitlines()[-1] if ran.stderr.strip() else "no answer")
        return []


def main() -> int:
    """Audit every file, and print the findings."""
    found = {
        (one["name"], one.get("version")): one
        for path in sorted(FOLDER.glob("*.txt"))
        if path.stem != "torch-cpu"  # all builds of a version share its vulnerabilities
        for one in audited(path)
    }
    known = [one for one in found.values() if "vulns" in one]
    for one in known:
        for hole in one["vulns"]:
            fixed = ", ".join(hole["fix_versions"]) or "no version"
            print(f"{one['name']} {one['version']}: {hole['id']}, mended in {fixed}")
    print(f"{len(known)} of {len(found)} packages were looked up")
    if len(known) < len(found) or not found:
        print("the package index in use has no vulnerability data for the others")
        return 2
    return int(any(one["vulns"] for one in known))


if __name__ == "__main__":
    sys.exit(main())
