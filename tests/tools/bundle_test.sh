#!/usr/bin/env bash
# The bundle runs where nothing was installed: in a root folder of its own that holds the bundle and glibc, no shell, no
# other library, no CUDA. There the program tells about itself, makes images, solves, and trains two steps.
# Skipped (exit 77) where neither root nor user namespaces allow chroot, and for builds with sanitizers.
#   TVMAP: the program, in its build folder; TVMAP_SOURCE: the source folder
set -euo pipefail

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
build=$(dirname "$TVMAP")
bundle=$TVMAP_SOURCE/tools/bundle
fail() { echo "FAILED: $1"; exit 1; }

if ldd "$TVMAP" | grep -q 'lib[a-z]*san\.so'; then
    said=$("$bundle" --build "$build" "$scratch/sanitized" 2>&1) && fail "a build with sanitizers was bundled"
    [[ "$said" == *"bundle a release build"* ]] || fail "$said"
    echo "SKIPPED: a build with sanitizers is not bundled"
    exit 77
fi

# refused WORDS ARGUMENTS…: one line with these words, exit 1, and no folder.
refused() {
    local words=$1 said
    shift
    said=$("$bundle" "$@" 2>&1) && fail "tools/bundle $* succeeded"
    [[ "$said" == *"$words"* && "$said" != *$'\n'* ]] || fail "tools/bundle $*: $said"
}
mkdir "$scratch/empty" "$scratch/precious"
refused "tvmap is missing: build first" --build "$scratch/empty" "$scratch/none"
refused "exists and is no bundle" --build "$build" "$scratch/precious"
mkdir "$scratch/unlinked"
"${CXX:-c++}" -x c++ -o "$scratch/unlinked/tvmap" - <<<'#include <iostream>
int main() { std::cout << std::endl; }'
refused "would take libstdc++.so.6 from" --build "$scratch/unlinked" "$scratch/none"
# A program just above the limit: half of it would be the libraries' share.
mkdir "$scratch/large"
cp "$TVMAP" "$scratch/large/tvmap"
head -c 62000000 /dev/zero >"$scratch/zeros"
objcopy --add-section .zeros="$scratch/zeros" --set-section-flags .zeros=alloc,readonly,data "$scratch/large/tvmap" 2>/dev/null
refused "MB are more than 64: the largest is tvmap with" --build "$scratch/large" "$scratch/none"
[ ! -e "$scratch/none" ] || fail "a refused bundle stays"

# With tests: those that ctest lists with the label gpu (a stand-in here), and gpu-check, which takes them from the bundle.
cp -r "$scratch/precious" "$scratch/gpu"
cp "$TVMAP" "$scratch/gpu/tvmap"
cp "$TVMAP" "$scratch/gpu/cuda_layers_gpu_test"
cat >"$scratch/gpu/CTestTestfile.cmake" <<END
add_test(cuda_layers_gpu_test "$scratch/gpu/cuda_layers_gpu_test")
set_tests_properties(cuda_layers_gpu_test PROPERTIES LABELS gpu)
add_test(cuda_layers_test "$scratch/gpu/cuda_layers_test")
set_tests_properties(cuda_layers_test PROPERTIES LABELS emulated)
END
refused "has no tests with the label gpu" --with-tests --build "$scratch/empty" "$scratch/none"
"$bundle" --with-tests --archive --build "$scratch/gpu" "$scratch/with" >/dev/null
mkdir "$scratch/unpacked"
tar -xzf "$scratch/with.tar.gz" -C "$scratch/unpacked"
diff -r "$scratch/with" "$scratch/unpacked/with" || fail "the archive holds something else than the folder"
[ "$(wc -c <"$scratch/with.tar.gz")" -lt $(($(du -sb "$scratch/with" | cut -f1) / 2)) ] || fail "the archive is not compressed"
[[ "$(cat "$scratch/with/tests/list.json")" == *'"program": "cuda_layers_gpu_test"'* ]] || fail "the list of tests"
[ "$(ls "$scratch/with/tests")" = $'cuda_layers_gpu_test\nlist.json' ] || fail "tests: $(ls "$scratch/with/tests")"
"$scratch/unpacked/with/tests/cuda_layers_gpu_test" info --quiet || fail "a test does not find its libraries"
code=0 said=$(CUDA_VISIBLE_DEVICES='' "$scratch/unpacked/with/tools/gpu-check" --out "$scratch/results" 2>&1) || code=$?
[[ $code = 77 && "$said" == *"no GPU"* ]] || fail "gpu-check of a bundle: $code, $said"

root=$scratch/root
mkdir "$root"
"$bundle" --build "$build" "$root/bundle"
"$bundle" --build "$build" "$root/bundle" >/dev/null  # in place of the first one
[ -e "$build/libtvmap_cuda.so" ] && [ ! -e "$root/bundle/lib/libtvmap_cuda.so" ] && fail "the CUDA backend is not in the bundle"
left=$(find "$root" -name '.*')
[ -z "$left" ] || fail "left behind: $left"

# A mount namespace of its own: /proc (by which the loader knows a program's place) is seen in there alone.
PATH=$PATH:/usr/sbin:/sbin
enter='mount --rbind /proc "$0/proc" && exec env -i "$(command -v chroot)" "$0" "$@"'
mkdir "$root/proc"
if unshare --mount sh -c "$enter" / /bin/true 2>/dev/null; then
    unshare=(unshare --mount)
elif unshare --map-root-user --mount sh -c "$enter" / /bin/true 2>/dev/null; then
    unshare=(unshare --map-root-user --mount)
else
    echo "SKIPPED: neither root nor user namespaces allow chroot here"
    exit 77
fi

# glibc, as the loader finds it on this machine.
for file in $(ldd "$TVMAP" "$root"/bundle/lib/*.so* | grep -oE '/\S*/(ld-linux[^/ ]*|lib(c|m|dl|pthread|rt)\.so\.[0-9])' | sort -u); do
    mkdir -p "$root$(dirname "$file")"
    cp -L "$file" "$root$file"
done
mkdir -p "$root/job"

tvmap() { "${unshare[@]}" sh -c "$enter" "$root" /bundle/tvmap "$@" --threads 2; }

info=$(tvmap info --json) || fail "tvmap info"
[[ "$info" == *'"onednn"'* ]] || fail "tvmap info: $info"
for part in train val test; do tvmap phantoms --out /job/$part --count 2 --size 64 --seed 1 --quiet; done
image=$(cd "$root" && find job/test -name '*.png' | head -n 1)
tvmap solve "/$image" --lambda 0.07 --iterations 20 --out /job/solved.npy --quiet
[ "$(wc -c <"$root/job/solved.npy")" -gt $((64 * 64 * 4)) ] || fail "tvmap solve wrote no image"
trained=$(tvmap train /bundle/configs/chest_xray.yaml --device cpu --set data.train=/job/train --set data.val=/job/val \
    --set data.test=/job/test --set data.size=64 --set solver.iterations=8 --set train.epochs=1 --run /job/run --json --quiet)
[[ "$trained" == *'"steps": 2'* && "$trained" == *'"finished": true'* ]] || fail "tvmap train: $trained"
[ -s "$root/job/run/checkpoints/last.safetensors" ] || fail "tvmap train left no checkpoint"
if [ -e "$build/libtvmap_cuda.so" ]; then
    # No driver in there: said in a line, and the CPU serves.
    [[ "$info" != *"not built in"* ]] || fail "the program does not find its CUDA backend: $info"
    said=$(tvmap solve "/$image" --lambda 0.07 --out /job/refused.npy --device cuda 2>&1) && fail "CUDA without a driver"
    [[ "$said" == *"device: cuda"* && "$said" != *$'\n'* ]] || fail "$said"
fi
echo "the bundle runs without anything else (${unshare[*]})"
