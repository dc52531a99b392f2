#!/usr/bin/env python3
"""What nvcc made of the kernels for sm_90, the newest machine code in the CUDA backend. The solver's products and sums are
never fused, so that its bits are the CPU's; nothing is spilled; blocks of 1,024 threads fit; flags are released and acquired
where they are read and written; what blocks exchange is not read through the cache of constants; where neighbours exchange
messages, no step has a fence or makes the whole cluster meet. A kernel with each fault shows that each is found.
Needs cuobjdump and nvdisasm: CUDA's own, else from PyPI; skipped where the backend is not built or neither is there."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(os.environ["TVMAP_SOURCE"])
LIBRARY = pathlib.Path(os.environ["TVMAP"]).parent / "libtvmap_cuda.so"
NVCC = os.environ.get("TVMAP_NVCC", "")
REGISTERS = 64  # of 65,536 on a multiprocessor, for each of 1,024 threads

FAULTY = """
__device__ float rows[64];
__global__ void pdhg_faulty_kernel(const float* __restrict__ in, float* out, float a, int n) {
    float kept[96];
#pragma unroll
    for (int i = 0; i < 96; ++i) kept[i] = in[i * n + threadIdx.x] * a + in[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 96; ++i) out[i * n + threadIdx.x] = kept[i] * kept[95 - i] + __ldg(rows + i % 64);
}
__global__ void __launch_bounds__(1024) pdhg_spilling_kernel(const float* in, float* out, int n) {
    float kept[96];
#pragma unroll
    for (int i = 0; i < 96; ++i) kept[i] = in[i * n + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 96; ++i) out[i * n + threadIdx.x] = kept[i] - kept[95 - i];
}
__global__ void pdhg_relaxed_kernel(unsigned* to, const unsigned* from, float* rows) {
    rows[threadIdx.x] = 1;
    __syncthreads();
    asm volatile("st.relaxed.gpu.global.u32 [%0], 1;" ::"l"(to) : "memory");
    unsigned value;
    do asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    while (value == 0);
    rows[threadIdx.x + 32] = rows[threadIdx.x + 64];
}
__global__ void pdhg_neighbours_meeting_kernel(float* rows, unsigned there, unsigned mailbox, int n) {
    for (int i = 0; i < n; ++i) {
        asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(there), "r"(i),
                     "r"(mailbox) : "memory");
        asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;" ::: "memory");
        rows[i] += 1;
    }
}
"""


class Kernel:
    """A kernel's instructions, by name and modifiers, where they lie and jump to, and how many registers it takes."""

    def __init__(self, name, registers):
        self.name, self.registers, self.code, self.places, self.jumps = name, registers, [], [], []

    def all(self, pattern):
        return [n for n, name in enumerate(self.code) if re.match(pattern, name)]

    def loop_with(self, pattern):
        """The instructions of the smallest loop that has one like this; none where there is no such loop."""
        loops = [self.code[self.places.index(to):n + 1] for n, to in self.jumps if to <= self.places[n]]
        return min((loop for loop in loops if any(re.match(pattern, name) for name in loop)), key=len, default=[])


def read(tools, file):
    """The kernels of a library or fatbin, by name."""
    def run(*arguments):
        result = subprocess.run([tools / "cuobjdump", "-arch", "sm_90", *arguments, file], capture_output=True, text=True,
                                env=dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}"))
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    kernels, name = {}, ""
    for line in run("-res-usage"):
        if found := re.match(r"\s*Function (\S+):", line):
            name = found[1]
        elif found := re.match(r"\s*REG:(\d+) ", line):
            kernels[name] = Kernel(name, int(found[1]))
    kernel = None
    for line in run("-sass"):
        if found := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)([^;]*);", line):
            kernel.places.append(int(found[1], 16))
            if found[2] == "BRA" and (to := re.search(r"0x([0-9a-f]+)\s*$", found[3])):
                kernel.jumps.append((len(kernel.code), int(to[1], 16)))
            kernel.code.append(found[2])
        elif found := re.match(r"\s*Function : (\S+)", line):
            kernel = kernels[found[1]]
    assert kernels and all(kernel.code for kernel in kernels.values()), "the listing was not understood"
    return kernels


def faults(kernel):
    """In words."""
    if kernel.all("FFMA"):
        yield "fuses a product and a sum"
    if kernel.all("LDL"):
        yield "spills registers"
    if kernel.all(r"LDG\S*\.CONSTANT"):
        yield "reads through the cache of constants"
    threads = 1024 if re.search("pdhg_(tiles|cluster|neighbours)_kernel", kernel.name) else 256
    if kernel.registers * threads > REGISTERS * 1024:
        yield f"takes {kernel.registers} registers"
    if "neighbours" in kernel.name:
        step = kernel.loop_with("STAS")
        if not step:
            yield "sends no messages in a loop"
        if any(re.match("MEMBAR|ERRBAR|CGAERRBAR|UCGABAR|CCTL", name) for name in step):
            yield "has a fence or makes the whole cluster meet in every step"
    # To release is a fence and then the flag's store; to acquire, its load and then the caches' invalidation. Between
    # the two nothing else is stored, or loaded.
    for n in kernel.all(r"ST\S*STRONG\.GPU"):
        fence = max((m for m in kernel.all(r"MEMBAR\.\S*GPU") if m < n), default=None)
        if fence is None or any(fence < m < n for m in kernel.all(r"STG?\.E(?!\S*STRONG)")):
            yield "sets a flag without releasing what was stored before"
    for n in kernel.all(r"LD\S*STRONG\.GPU"):
        invalidation = min((m for m in kernel.all(r"CCTL\.IVALL") if m > n), default=None)
        if invalidation is None or any(n < m < invalidation for m in kernel.all(r"LDG?\.E(?!\S*STRONG)")):
            yield "reads a flag without acquiring what was released"


def cuda_tools():
    beside = pathlib.Path(NVCC).parent if NVCC else pathlib.Path("/nonexistent")
    for folder in (beside, pathlib.Path(shutil.which("cuobjdump") or "/nonexistent/x").parent):
        if (folder / "cuobjdump").exists() and (folder / "nvdisasm").exists():
            return folder
    found = subprocess.run([SOURCE / "tools" / "pypi", "cuda_binary_tools", "nvidia-cuda-cuobjdump>=13,<14",
                            "nvidia-cuda-nvdisasm>=13,<14"], stdout=subprocess.PIPE, text=True)
    if found.returncode != 0:
        return None
    return next(pathlib.Path(found.stdout.strip()).parent.parent.rglob("cuobjdump")).parent


def main():
    if not LIBRARY.exists() or not NVCC:
        print("SKIPPED: the CUDA backend is not built")
        return 77
    tools = cuda_tools()
    if not tools:
        print("SKIPPED: there is no cuobjdump here, and it cannot be installed")
        return 77

    def of_solver(name):
        return "pdhg" in name or "family" in name

    kernels = read(tools, LIBRARY)
    wrong = [f"{name}: {fault}" for name, kernel in sorted(kernels.items()) if of_solver(name)
             for fault in dict.fromkeys(faults(kernel))]
    wrong += [f"{name}: spills registers" for name, kernel in sorted(kernels.items()) if not of_solver(name) and kernel.all("LDL")]

    def count(word):
        return len([name for name in kernels if word in name])
    print(f"{count('')} kernels, {len([name for name in kernels if of_solver(name)])} of the solver, "
          f"{count('pdhg_tiles_kernel')} with flags, {count('pdhg_neighbours_kernel')} with messages")
    assert all(map(count, ("pdhg_tiles_kernel", "pdhg_cluster_kernel", "pdhg_neighbours_kernel", "pdhg_dual_kernel",
                           "family_dual_kernel", "family_gram_kernel")))
    print(*wrong, sep="\n")

    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "faulty.cu")
        source.write_text(FAULTY)
        subprocess.run([NVCC, "-std=c++20", "-gencode", "arch=compute_90,code=sm_90", "-fatbin", "-o",
                        source.with_suffix(".fatbin"), source], check=True)
        found = {kernel.name: set(faults(kernel)) for kernel in read(tools, source.with_suffix(".fatbin")).values()}
    planted = {"faulty": {"fuses a product and a sum", "reads through the cache of constants"},
               "spilling": {"spills registers"},
               "meeting": {"has a fence or makes the whole cluster meet in every step"},
               "relaxed": {"sets a flag without releasing what was stored before",
                           "reads a flag without acquiring what was released"}}
    for word, expected in planted.items():
        seen = next(faults for name, faults in found.items() if word in name)
        assert expected <= seen, f"planted in {word}: {expected - seen} not found, {seen} found"
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
