#include "capi/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace etwebgpu {

Result<MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK a named pipe would wait here for a writer.
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  CHECK_OR_FAIL(file >= 0, ErrorKind::InvalidArgument, "cannot open ", path, ": ",
                std::strerror(errno));
  struct stat info = {};
  if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
    close(file);
    return fail(ErrorKind::InvalidArgument, path, " is empty or not a file");
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  CHECK_OR_FAIL(data != MAP_FAILED, ErrorKind::ResourceLimit, "cannot map ", path, ": ",
                std::strerror(errno));
  return MappedFile(std::span(static_cast<const std::byte*>(data), size));
}

void MappedFile::drop_pages(const void* data, std::size_t size) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(data) % page;
  std::byte* first = static_cast<std::byte*>(const_cast<void*>(data)) - into_page;
  madvise(first, size + into_page, MADV_DONTNEED);
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace etwebgpu
