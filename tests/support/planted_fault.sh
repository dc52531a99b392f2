#!/usr/bin/env bash
# planted_fault.sh PROGRAM: PROGRAM is a test with a faulty copy of a kernel in it. Passes when the test finds the fault,
# under one of a few orders of the threads: by a failed comparison, a report of the emulation, or an access so wrong
# that the test case crashes. A timeout does not count.
set -u
unset TVMAP_KERNEL_RECORD
for seed in 1 2 3 4 5; do
    output=$(TVMAP_SEED=$seed timeout 300 "$1" --abort-after=1 2>&1)
    status=$?
    if { [ "$status" -eq 1 ] || [ "$status" -ge 128 ]; } && [[ "$output" == *"Status: FAILURE"* ]]; then
        echo "found with seed $seed:"
        grep -m 3 -E 'ERROR|TEST CASE|what|values:' <<<"$output"
        exit 0
    fi
    if [ "$status" -ne 0 ]; then
        echo "exit code $status instead of a failed test:"
        tail -n 20 <<<"$output"
        exit 1
    fi
done
echo "the fault was not found"
exit 1
