#include "capi/data_files.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/json_value.h"
#include "base/quote.h"

namespace etwebgpu {
namespace {

namespace fs = std::filesystem;

#if defined(_WIN32)
constexpr char kSeparator = ';';
#else
constexpr char kSeparator = ':';
#endif

Result<std::vector<std::string>> paths_of_list(std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  std::vector<std::string> paths;
  for (const Json& item : *json.items()) {
    const std::string* path = item.text();
    CHECK_OR_FAIL(path != nullptr && !path->empty() && !path->contains('\0'),
                  ErrorKind::InvalidArgument, "expected a list of paths, got ", quoted(text));
    paths.push_back(*path);
  }
  return paths;
}

}  // namespace

Result<std::vector<std::string>> parse_data_files(std::string_view text) {
  if (text.starts_with('[')) return paths_of_list(text);
  std::vector<std::string> paths;
  while (!text.empty()) {
    const std::string_view path = text.substr(0, text.find(kSeparator));
    if (!path.empty()) paths.emplace_back(path);
    text.remove_prefix(std::min(path.size() + 1, text.size()));
  }
  return paths;
}

Result<DataFiles> DataFiles::open(std::span<const std::string> paths) {
  DataFiles out;
  for (const std::string& path : paths) {
    std::error_code ignored;
    TRY(fs::is_directory(path, ignored) ? out.add_folder(path) : out.add(path));
  }
  return out;
}

Result<void> DataFiles::add_folder(const std::string& path) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
    if (at->path().extension() == ".ptd") found.push_back(at->path().string());
  }
  CHECK_OR_FAIL(!error, ErrorKind::InvalidArgument, "cannot read the folder ", path, ": ",
                error.message());
  CHECK_OR_FAIL(!found.empty(), ErrorKind::InvalidArgument, "no .ptd file is in the folder ", path);
  std::ranges::sort(found);
  for (const std::string& file : found) TRY(add(file));
  return {};
}

Result<void> DataFiles::add(const std::string& path) {
  std::error_code ignored;  // a missing file is for open() to say
  std::string canonical = fs::canonical(path, ignored).string();
  const auto known = std::ranges::find(files_, canonical, &File::canonical);
  if (known != files_.end()) return {};
  TRY_ASSIGN(MappedFile mapped, MappedFile::open(path));
  auto content = FlatTensorFile::read(mapped.bytes());
  if (!content) return std::unexpected(std::move(content).error().within(path));
  files_.push_back({path, std::move(canonical), std::move(mapped), *std::move(content)});
  return {};
}

Result<std::optional<std::span<const std::byte>>> DataFiles::find(std::string_view key) const {
  const std::vector<std::size_t> holding = holders(key);
  if (holding.empty()) return std::nullopt;
  const File& first = files_[holding.front()];
  const auto bytes = first.content.data(key);
  for (const std::size_t i : std::span(holding).subspan(1)) {
    CHECK_OR_FAIL(std::ranges::equal(*bytes, *files_[i].content.data(key)),
                  ErrorKind::InvalidArgument, first.path, " and ", files_[i].path,
                  " hold different data under ", quoted(key),
                  ": they do not belong to the same program");
  }
  return bytes;
}

std::vector<std::size_t> DataFiles::holders(std::string_view key) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (files_[i].content.data(key)) found.push_back(i);
  }
  return found;
}

std::string DataFiles::names() const {
  constexpr std::size_t kMost = 16;
  std::string out;
  for (const File& file : std::span(files_).first(std::min(files_.size(), kMost))) {
    out += cat(out.empty() ? "" : ", ", file.path);
  }
  if (files_.size() > kMost) out += cat(" and ", files_.size() - kMost, " more");
  return out.empty() ? "none" : out;
}

}  // namespace etwebgpu
