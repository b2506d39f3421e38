# SPDX-License-Identifier: MIT
"""The files of this source tree, and how a check reports what it found."""

import subprocess
import sys
from pathlib import Path

__unittest = True  # unittest leaves our frames out of what it prints

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/lib"))


def list_files(root, *suffixes):
    """Files that git would keep below `root`, sorted, relative to it; all files where there is no git.

    Whoever runs this trusts the tree, also one that belongs to somebody else.
    """
    git = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = set(git.stdout.splitlines())
    else:
        names = {str(path.relative_to(root)) for path in Path(root).rglob("*")
                 if not path.relative_to(root).parts[0].startswith((".git", "build"))}
    files = [Path(name) for name in names if (Path(root) / name).is_file()]
    return sorted(path for path in files if not suffixes or path.name.endswith(suffixes))


def check_nothing(case, offences):
    """Fail `case` if there are offences, listing all of them."""
    offences = list(offences)
    if offences:
        case.fail("\n" + "\n".join(offences))
