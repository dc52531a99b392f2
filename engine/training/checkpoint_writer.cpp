#include "engine/training/checkpoint_writer.h"

#include <chrono>
#include <system_error>

namespace tvmap {

std::size_t CheckpointWriter::copy_bytes(const Backend& backend, const std::vector<Parameter>& list,
                                         Kept kept) {
    return backend.separate_memory() ? Parameters::state_bytes_for(list, kept) : 0;
}

CheckpointWriter::CheckpointWriter(Backend& backend, const Parameters& parameters)
    : backend_(backend),
      parameters_(parameters),
      copy_bytes_(copy_bytes(backend, parameters.list(), parameters.kept())) {
    if (copy_bytes_) copy_ = static_cast<float*>(backend_.allocate_host(copy_bytes_));
}

CheckpointWriter::~CheckpointWriter() {
    if (writing_.valid()) writing_.wait();
    if (copy_) backend_.release_host(copy_, copy_bytes_);
}

bool CheckpointWriter::busy() {
    using namespace std::chrono_literals;
    if (writing_.valid() && writing_.wait_for(0s) != std::future_status::ready) return true;
    finish();
    return false;
}

void CheckpointWriter::write(const std::vector<std::string>& paths, const Config& config,
                             const Progress& progress, const std::function<void()>& before) {
    finish();
    const float* state = parameters_.host_state();
    if (copy_) {
        parameters_.download_state(copy_);
        state = copy_;
    }
    const auto work = [paths, config, progress, before, stored = parameters_.stored(state)] {
        before();
        for (const std::string& path : paths) write_checkpoint(path, stored, config, progress);
    };
    if (copy_) {
        try {
            writing_ = std::async(std::launch::async, work);
            return;
        } catch (const std::system_error&) {
            // The system starts no more threads: this one writes.
        }
    }
    work();
}

// (get() throws what the thread has thrown, and leaves no future that is valid.)
void CheckpointWriter::finish() {
    if (writing_.valid()) writing_.get();
}

}  // namespace tvmap
