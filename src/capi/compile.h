// Compiles a program ahead of time: what an executor needs to run it without the core, for one set
// of capabilities and chosen sizes of its inputs. docs/compiled.md describes the file that is made
// of it; here is all of its head but for where constants lie.
//
//   {"version": 1, "capabilities": {...}, "methods": [as etwg_program has them, of those that are
//    compiled and of constants], "kernels": [WGSL], "delegates": [{"method", "number",
//    "model": {...}, "matches": [{"values": [ids], ...}], "kernels": [place in "kernels" or null],
//    "plans": [{"sizes": [[...] or null], "wide_integers": true | false | null, "uniforms": offset,
//     "values": [...], "scalars": [...], "plan": {...}}]}]}
//
// plan/plan_json.h has the forms of models, plans and matches, plan/live_values.h those of values
// and scalars. A plan with null for "wide_integers" serves both widths.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/capabilities.h"
#include "base/dims.h"
#include "base/result.h"

namespace etwebgpu {

// Sizes of one method's inputs in order: of those left out, as recorded.
struct CalledSizes {
  std::string method;  // "" for the only one
  std::vector<std::optional<Dims>> inputs;
};

struct CompileSettings {
  std::optional<Capabilities> capabilities;  // unset: this machine's adapter's
  std::vector<std::string> methods;          // empty: all that run
  std::vector<CalledSizes> sizes;

  // From {"capabilities": {...} | "adapter", "methods": [names], "sizes": [{"method", "inputs":
  // [[...] or null]}]}; without capabilities WebGPU's default limits are meant.
  static Result<CompileSettings> parse(std::string_view json);
};

class Compilation {
 public:
  virtual ~Compilation() = default;
  virtual std::string json() const = 0;
  // Parameters of all plans.
  virtual std::span<const std::byte> uniforms() const = 0;
  // Of all delegates, in order: first constants, then states.
  virtual std::size_t constant_count() const = 0;
  // Gives `take` the packed bytes in order, in pieces of a few MB, until it gives false.
  virtual Result<void> read_constant(
      std::size_t number, const std::function<bool(std::span<const std::byte>)>& take) = 0;
};

// Fails for a program that this runtime cannot run and for sizes that it does not take.
Result<std::unique_ptr<Compilation>> compile(const std::string& pte,
                                             std::span<const std::string> data_files,
                                             const CompileSettings& settings);

}  // namespace etwebgpu
