#include "executorch/named_data.h"

#include <utility>

namespace etwebgpu {

namespace et = executorch::runtime;

Result<std::span<const std::byte>> NamedData::fetch(std::int32_t index, const std::string& key) {
  TRY_ASSIGN(et::FreeableBuffer data, find(key));
  const auto [entry, added] = held_.emplace(index, std::move(data));
  const auto bytes = entry->second.data_safe();
  CHECK_OR_FAIL(added && bytes.ok(), ErrorKind::Internal, "its bytes are not in host memory");
  return std::span(static_cast<const std::byte*>(*bytes), entry->second.size());
}

Result<et::FreeableBuffer> NamedData::find(const std::string& key) {
  et::Error error = et::Error::NotFound;
  if (map_ != nullptr) {
    et::Result<et::FreeableBuffer> data = map_->get_data(key);
    if (data.ok()) return std::move(data.get());
    error = data.error();
  }
  if (!files_) {
    TRY_ASSIGN(files_, DataFiles::open(paths_));
  }
  TRY_ASSIGN(const auto bytes, files_->find(key));
  if (bytes) {
    const auto drop = [](void*, void* data, std::size_t size) {
      MappedFile::drop_pages(data, size);
    };
    return et::FreeableBuffer(bytes->data(), bytes->size(), drop);
  }
  return fail(ErrorKind::InvalidArgument,
              map_ == nullptr ? "the program keeps it in a .ptd file"
                              : "neither the program nor a .ptd file given to ExecuTorch holds it",
              error == et::Error::NotFound ? "" : cat(" (", et::to_string(error), ")"),
              "; data files read: ", files_->names(),
              "; an export may be split over several .ptd files: give all of them, as data_path or "
              "by the option data_files");
}

}  // namespace etwebgpu
