// An ExecuTorch program (.pte) as seen from outside: methods with their inputs and outputs,
// constants a method returns, delegates, what is left to the host, and named data. Of the
// file only the beginning is read, which must outlive the Program; data is where it is in the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/result.h"
#include "format/file.h"

namespace etwebgpu {

enum class Dynamism : std::uint8_t { Static, Bounded, Unbounded };

struct ProgramTensor {
  std::int32_t scalar_type = 0;     // as ExecuTorch numbers them
  std::string_view dtype_name;      // "float32", "bfloat16", ...
  std::optional<DType> dtype;       // unset for types this runtime does not know
  std::vector<std::int64_t> sizes;  // upper bounds where dynamic
  Dynamism dynamism = Dynamism::Static;
  bool contiguous = true;  // its dimensions lie in memory in their order
};

// A list of integers or tensors, which are values of the method themselves; -1 is none.
struct ProgramList {
  std::string_view kind;
  std::vector<std::int32_t> ids;
};

using ProgramValue =
    std::variant<std::monostate, std::int64_t, bool, double, std::string, std::vector<double>,
                 std::vector<bool>, ProgramTensor, ProgramList>;

struct CompileSpec {
  std::string key;
  std::span<const std::byte> value;
};

struct ProgramDelegate {
  std::string backend;  // "VulkanBackend"
  FilePart blob;
  std::vector<CompileSpec> specs;
  // Of the values that it is called with, its inputs before its outputs; Static for a non-tensor.
  std::vector<Dynamism> arguments;
};

// A delegate's run in a method: values are numbered within the method.
struct DelegateCall {
  std::size_t delegate = 0;
  std::vector<std::int32_t> ids;  // inputs before outputs
  std::vector<ProgramValue> values;
};

// An operator outside any delegate.
struct KernelUse {
  std::string name;  // as ExecuTorch registers its kernel: "aten::add.out"
  std::size_t calls = 0;
};

// One of what a method does, in order.
struct Step {
  enum class Kind : std::uint8_t { Kernel, Delegate, Move, JumpFalse, Free };
  Kind kind = Kind::Kernel;
  std::size_t index = 0;          // of the kernel, of the delegate's call, of the step to jump to
  std::vector<std::int32_t> ids;  // arguments; from and to; the condition; what is freed
};

// What a tensor holds before the first call: a constant, or a mutable buffer that the file has the
// first contents of.
struct Contents {
  FilePart part;    // in the file
  std::string key;  // or under which key, if it is not empty
};

// A method as a host without ExecuTorch runs it.
struct HostPlan {
  std::vector<Step> steps;
  std::vector<ProgramValue> values;
  std::map<std::int32_t, Contents> contents;  // by value
  std::vector<std::int32_t> planned;          // tensors with memory of the method's own
};

struct Method {
  std::string name;
  std::vector<ProgramValue> inputs;
  std::vector<ProgramValue> outputs;
  std::vector<std::int32_t> input_ids, output_ids;
  std::vector<ProgramDelegate> delegates;
  std::vector<DelegateCall> calls;  // of delegates, in order
  std::vector<KernelUse> kernels;
  std::vector<std::string> external_constants;  // keys of the kernels' constants in .ptd files
  std::size_t kernel_calls = 0;                 // calls outside any delegate
  std::optional<HostPlan> host_plan;            // where more is to do than to call delegates

  // A constant method only returns values recorded in the program: get_max_seq_len and the like.
  bool is_constant() const { return kernel_calls == 0 && calls.empty() && inputs.empty(); }
};

class Program {
 public:
  // Verifies the extended header (magic eh00), the flatbuffer (identifier ET12), and that every
  // index, segment and delegate lies inside the file.
  static Result<Program> read(const FileHead& file);
  // How many bytes of the file's beginning read() needs, found in the first kHeaderBytes of them.
  static Result<std::uint64_t> head_size(const FileHead& file);
  static constexpr std::size_t kHeaderBytes = 40;

  std::span<const Method> methods() const { return methods_; }
  const Method* method(std::string_view name) const;
  // The single value that a constant method returns, or nullptr.
  const ProgramValue* constant(std::string_view method) const;
  // Where the bytes stored under a key are, or nothing.
  std::optional<FilePart> named_data(std::string_view key) const;
  // Empty if the part is not in memory.
  std::span<const std::byte> bytes(const FilePart& part) const { return file_.part(part); }
  using NamedData = std::map<std::string, FilePart, std::less<>>;
  const NamedData& named_data() const { return named_data_; }

 private:
  FileHead file_;
  std::vector<Method> methods_;
  NamedData named_data_;
};

}  // namespace etwebgpu
