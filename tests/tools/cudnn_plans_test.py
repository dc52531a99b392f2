#!/usr/bin/env python3
"""What cuDNN plans for the network's passes on an H200 is what the kept table says: another engine, or another workspace,
is a change that someone should look at before it is measured. Another version of cuDNN numbers its engines anew; then only
that each pass has a plan is compared. To keep a new table: build/tests/cudnn_plans >tests/fixtures/cudnn_plans_h200.txt.
Skipped where the CUDA backend is not built or cuDNN is missing."""
import os
import pathlib
import subprocess
import sys

PLANS = os.environ.get("TVMAP_CUDNN_PLANS")
TABLE = pathlib.Path(os.environ["TVMAP_SOURCE"], "tests", "fixtures", "cudnn_plans_h200.txt")


def main():
    if not PLANS:
        print("SKIPPED: the CUDA backend is not built")
        return 77
    result = subprocess.run([PLANS], stdout=subprocess.PIPE, text=True)
    if result.returncode == 77:
        print(result.stdout, end="")
        return 77
    version, *made = result.stdout.splitlines()
    kept_version, *kept = TABLE.read_text().splitlines()
    if version.split(",")[0] != kept_version.split(",")[0]:  # cuBLAS plans nothing here
        print(f"{version} here, the table is of {kept_version}: only that there are plans is compared")
        made, kept = ([line.split(":")[0] for line in lines] for lines in (made, kept))
    different = [pair for pair in zip(made, kept) if pair[0] != pair[1]]
    for here, there in different[:20]:
        print(f"here {here}\nkept {there}")
    print(f"{len(made)} passes, {len(kept)} kept, {len(different)} different")
    return result.returncode or int(bool(different) or len(made) != len(kept))


if __name__ == "__main__":
    sys.exit(main())
