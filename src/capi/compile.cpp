#include "capi/compile.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "base/capabilities_json.h"
#include "base/json.h"
#include "base/json_value.h"
#include "base/quote.h"
#include "capi/compiled_delegate.h"
#include "capi/data_files.h"
#include "capi/inspect.h"
#include "capi/mapped_file.h"
#include "capi/options.h"
#include "format/delegate.h"
#include "format/file_json.h"
#include "format/program.h"
#include "format/state_names.h"
#include "plan/shared_states.h"

namespace etwebgpu {
namespace {

constexpr int kVersion = 1;
constexpr std::string_view kOurBackend = "VulkanBackend";

// --- Settings ---

Result<std::string> text_of(std::string_view key, const Json* json) {
  CHECK_OR_FAIL(json && json->text(), ErrorKind::InvalidArgument, "'", key, "' must be a text");
  return *json->text();
}

Result<CalledSizes> parse_call(const Json& json) {
  CalledSizes out;
  TRY_ASSIGN(out.method, text_of("method", json.find("method")));
  const Json* inputs = json.find("inputs");
  CHECK_OR_FAIL(inputs && inputs->items(), ErrorKind::InvalidArgument,
                "'inputs' must be a list of sizes");
  for (const Json& input : *inputs->items()) {
    auto& sizes = out.inputs.emplace_back();
    if (!input.items()) continue;
    TRY_ASSIGN(sizes, parse_sizes(input));
  }
  return out;
}

// --- What is compiled ---

// Weights of a program and its data files, whose memory goes back when they are done with.
class ProgramData final : public NamedDataSource {
 public:
  ProgramData(const Program& program, const DataFiles& files) : program_(program), files_(files) {}

  Result<std::span<const std::byte>> fetch(std::int32_t index, const std::string& key) override {
    const auto part = program_.named_data(key);
    if (part) return held_[index] = program_.bytes(*part);
    TRY_ASSIGN(const auto bytes, files_.find(key));
    CHECK_OR_FAIL(bytes, ErrorKind::InvalidArgument,
                  "it is neither in the program nor in a data file; data files read: ",
                  files_.names(), "; give those of the export with --data");
    return held_[index] = *bytes;
  }
  void release(std::int32_t index) override {
    const auto held = held_.find(index);
    if (held == held_.end()) return;
    MappedFile::drop_pages(held->second.data(), held->second.size());
    held_.erase(held);
  }

 private:
  const Program& program_;
  const DataFiles& files_;
  std::map<std::int32_t, std::span<const std::byte>> held_;
};

Result<void> check_runs(const Method& method) {
  std::string kernels;
  for (const KernelUse& kernel : method.kernels)
    kernels += cat(kernels.empty() ? "" : ", ", kernel.name);
  CHECK_OR_FAIL(kernels.empty(), ErrorKind::NotSupported, "method '", method.name, "' leaves ",
                kernels,
                " to ExecuTorch's kernels, which a compiled file has no place for: a page runs the "
                ".pte itself, or export it with executorch_webgpu.lower, which says what stays "
                "outside and why");
  CHECK_OR_FAIL(!method.host_plan, ErrorKind::NotSupported, "method '", method.name,
                "' does more than to call delegates, which a compiled file has no place for: a "
                "page runs the .pte itself");
  for (const ProgramDelegate& delegate : method.delegates)
    CHECK_OR_FAIL(delegate.backend == kOurBackend, ErrorKind::NotSupported, "method '", method.name,
                  "' has a delegate for ", delegate.backend, ", not for ", kOurBackend);
  return {};
}

Result<Dims> recorded(std::string_view what, const ProgramTensor& tensor) {
  CHECK_OR_FAIL(tensor.sizes.size() <= kMaxRank, ErrorKind::NotSupported, what, " has rank ",
                tensor.sizes.size(), ", but ", kMaxRank, " is the most");
  return Dims(tensor.sizes);
}

// Live sizes of an input as asked for.
Result<Dims> sizes_of(const std::string& what, const ProgramValue& input,
                      const std::optional<Dims>& wanted) {
  const auto* tensor = std::get_if<ProgramTensor>(&input);
  if (tensor == nullptr) {
    CHECK_OR_FAIL(!wanted, ErrorKind::InvalidArgument, what, " is no tensor, so it has no sizes ",
                  to_string(*wanted));
    return Dims();
  }
  TRY_ASSIGN(const Dims bound, recorded(what, *tensor));
  if (!wanted || *wanted == bound) return bound;
  const bool is_dynamic = tensor->dynamism != Dynamism::Static;
  bool fits = is_dynamic && wanted->rank() == bound.rank();
  for (std::size_t d = 0; fits && d < bound.rank(); ++d) fits = (*wanted)[d] <= bound[d];
  CHECK_OR_FAIL(fits, ErrorKind::InvalidArgument, what, " takes sizes ", is_dynamic ? "up to " : "",
                to_string(bound), ", not ", to_string(*wanted));
  return *wanted;
}

PassedValue passed_value(std::int32_t id, const ProgramTensor& tensor, const Dims& sizes) {
  return {.is_tensor = true, .dtype = *tensor.dtype, .sizes = sizes, .place = id};
}

template <typename Items, typename Value, typename Projection = std::identity>
bool contains(const Items& items, const Value& value, Projection projection = {}) {
  return std::ranges::find(items, value, projection) != std::ranges::end(items);
}

class CompiledProgram final : public Compilation {
 public:
  CompiledProgram(MappedFile file, DataFiles data_files, Program program,
                  const Capabilities& capabilities, const Options& options)
      : file_(std::move(file)),
        data_files_(std::move(data_files)),
        program_(std::move(program)),
        capabilities_(capabilities),
        options_(options) {}

  Result<void> run(const CompileSettings& settings) {
    TRY(choose_methods(settings));
    if (options_.shared_states) TRY(share());
    TRY_ASSIGN(const auto calls, calls_of(settings.sizes));
    for (const auto& [method, sizes] : calls) {
      auto added = add_call(*method, sizes);
      if (!added)
        return std::unexpected(std::move(added.error()).within("method '", method->name, "'"));
    }
    return {};
  }

  std::string json() const override {
    JsonWriter json;
    json.begin_object().member("version", kVersion).key("capabilities").begin_object();
    write_capabilities(json, capabilities_);
    json.end_object().key("methods").begin_array();
    for (const Method& method : program_.methods())
      if (method.is_constant() || is_chosen(method)) write_method(json, method);
    json.end_array();
    write_array(json, "kernels", texts_.texts(), [&](const auto& text) { json.value(text); });
    json.key("delegates").begin_array();
    for (const Entry& entry : delegates_) {
      json.begin_object().member("method", entry.method->name).member("number", entry.number);
      entry.delegate->write(json);
      json.end_object();
    }
    json.end_array().end_object();
    return json.take();
  }

  std::span<const std::byte> uniforms() const override { return texts_.uniforms(); }

  std::size_t constant_count() const override {
    std::size_t count = 0;
    for (const Entry& entry : delegates_) count += entry.delegate->constant_count();
    return count;
  }

  Result<void> read_constant(std::size_t number,
                             const std::function<bool(std::span<const std::byte>)>& take) override {
    for (const Entry& entry : delegates_) {
      const std::size_t count = entry.delegate->constant_count();
      if (number < count) return entry.delegate->read_constant(number, take);
      number -= count;
    }
    return fail(ErrorKind::InvalidArgument, "there are ", constant_count(), " constants only");
  }

 private:
  using Sizes = std::vector<Dims>;  // by input of the method
  using Call = std::pair<const Method*, Sizes>;
  struct Entry {
    const Method* method = nullptr;
    std::size_t number = 0;  // among its delegates
    std::unique_ptr<CompiledDelegate> delegate;
  };

  bool is_chosen(const Method& method) const {
    return std::ranges::find(methods_, &method) != methods_.end();
  }
  std::string names() const {
    std::string out;
    for (const Method* method : methods_) out += cat(out.empty() ? "" : ", ", method->name);
    return out;
  }

  Result<void> choose_methods(const CompileSettings& settings) {
    for (const Method& method : program_.methods())
      if (!method.is_constant()) methods_.push_back(&method);
    for (const std::string& name : settings.methods)
      CHECK_OR_FAIL(contains(methods_, name, &Method::name), ErrorKind::InvalidArgument,
                    "the program has no method ", quoted(name), ", but ", names());
    if (!settings.methods.empty())
      std::erase_if(methods_, [&](const Method* method) {
        return !contains(settings.methods, method->name);
      });
    CHECK_OR_FAIL(!methods_.empty(), ErrorKind::NotSupported,
                  "the program has no method that runs");
    for (const Method* method : methods_) TRY(check_runs(*method));
    return {};
  }

  // Which states of the chosen methods are one.
  Result<void> share() {
    std::vector<DelegateUses> uses;
    for (const Method* method : methods_) {
      for (const ProgramDelegate& delegate : method->delegates) {
        TRY_ASSIGN(const Graph graph, decode_delegate(program_.bytes(delegate.blob)));
        TRY_ASSIGN(const StateNames names, parse_state_names(state_names_text(delegate)));
        uses.push_back({method->name, state_uses(graph, names)});
      }
    }
    TRY_ASSIGN(const SharedStates shared, share_states(uses));
    auto next = shared.begin();
    for (const Method* method : methods_)
      for (const ProgramDelegate& delegate : method->delegates) shared_[&delegate] = *next++;
    return {};
  }

  Result<const Method*> method_of(const CalledSizes& call) const {
    if (call.method.empty()) {
      CHECK_OR_FAIL(methods_.size() == 1, ErrorKind::InvalidArgument,
                    "sizes are for one of methods ", names(), ": put its name before them, as in ",
                    methods_[0]->name, ":1x1");
      return methods_[0];
    }
    const auto found = std::ranges::find(methods_, call.method, &Method::name);
    CHECK_OR_FAIL(found != methods_.end(), ErrorKind::InvalidArgument, "sizes are for method ",
                  quoted(call.method), ", but there is ", names());
    return *found;
  }

  // Of all methods, with live sizes of their inputs.
  Result<std::vector<Call>> calls_of(std::span<const CalledSizes> wanted) const {
    std::vector<Call> out;
    for (const CalledSizes& call : wanted) {
      TRY_ASSIGN(const Method* method, method_of(call));
      TRY_ASSIGN(Sizes sizes, sizes_in(*method, call.inputs));
      out.emplace_back(method, std::move(sizes));
    }
    for (const Method* method : methods_) {
      if (contains(out, method, &Call::first)) continue;
      TRY_ASSIGN(Sizes sizes, sizes_in(*method, {}));
      CHECK_OR_FAIL(!is_dynamic(*method), ErrorKind::InvalidArgument, "method '", method->name,
                    "' takes inputs of many sizes, at most ", text_of(sizes),
                    ": say with --sizes which it will be called with");
      out.emplace_back(method, std::move(sizes));
    }
    return out;
  }

  static bool is_dynamic(const Method& method) {
    return std::ranges::any_of(method.inputs, [](const ProgramValue& input) {
      const auto* tensor = std::get_if<ProgramTensor>(&input);
      return tensor != nullptr && tensor->dynamism != Dynamism::Static;
    });
  }
  static std::string text_of(const Sizes& sizes) {
    std::string out;
    for (const Dims& one : sizes) out += cat(out.empty() ? "" : ", ", to_string(one));
    return out;
  }

  static Result<Sizes> sizes_in(const Method& method, std::span<const std::optional<Dims>> wanted) {
    CHECK_OR_FAIL(wanted.size() <= method.inputs.size(), ErrorKind::InvalidArgument, "method '",
                  method.name, "' takes ", method.inputs.size(), " inputs, but sizes for ",
                  wanted.size(), " were given");
    Sizes out;
    for (std::size_t i = 0; i < method.inputs.size(); ++i) {
      const std::string what = cat("input ", i, " of method '", method.name, "'");
      TRY_ASSIGN(Dims sizes,
                 sizes_of(what, method.inputs[i], i < wanted.size() ? wanted[i] : std::nullopt));
      out.push_back(sizes);
    }
    return out;
  }

  // Follows a call of the method through its delegates.
  Result<void> add_call(const Method& method, const Sizes& sizes) {
    std::map<std::int32_t, LiveEdge> live;  // by number of the value
    for (std::size_t i = 0; i < sizes.size(); ++i) live[method.input_ids[i]].sizes = sizes[i];
    for (const DelegateCall& call : method.calls) {
      TRY_ASSIGN(CompiledDelegate* const delegate, delegate_of(method, call.delegate));
      TRY_ASSIGN(const auto passed, passed_values(call, live));
      TRY_ASSIGN(const CallMatch match, delegate->match(passed));
      std::vector<LiveEdge> inputs;
      for (const auto& candidates : match.inputs) {
        const auto given = live.find(call.ids[candidates.front()]);
        CHECK_OR_FAIL(given != live.end(), ErrorKind::NotSupported, "input ", inputs.size(),
                      " of delegate ", call.delegate, " is made by nothing that runs here");
        inputs.push_back(given->second);
      }
      TRY_ASSIGN(const auto outputs, delegate->plan(inputs, texts_));
      for (std::size_t i = 0; i < match.outputs.size(); ++i)
        live[call.ids[match.first_output + i]] = outputs[match.outputs[i]];
    }
    return {};
  }

  static Result<std::vector<PassedValue>> passed_values(
      const DelegateCall& call, const std::map<std::int32_t, LiveEdge>& live) {
    std::vector<PassedValue> out;
    for (std::size_t i = 0; i < call.values.size(); ++i) {
      const auto* tensor = std::get_if<ProgramTensor>(&call.values[i]);
      if (tensor == nullptr) {
        out.emplace_back().place = call.ids[i];
        continue;
      }
      const std::string what = cat("value ", call.ids[i]);
      CHECK_OR_FAIL(tensor->dtype, ErrorKind::NotSupported, what, " is ", tensor->dtype_name,
                    ", which this runtime does not know");
      TRY_ASSIGN(const Dims bound, recorded(what, *tensor));
      const auto known = live.find(call.ids[i]);
      out.push_back(
          passed_value(call.ids[i], *tensor, known == live.end() ? bound : known->second.sizes));
    }
    return out;
  }

  Result<CompiledDelegate*> delegate_of(const Method& method, std::size_t number) {
    for (const Entry& entry : delegates_)
      if (entry.method == &method && entry.number == number) return entry.delegate.get();
    const ProgramDelegate& delegate = method.delegates[number];
    TRY_ASSIGN(auto compiled, CompiledDelegate::create(
                                  {program_.bytes(delegate.blob), data_, is_aliased(delegate)},
                                  capabilities_, options_.model, shared_[&delegate]));
    delegates_.push_back({&method, number, std::move(compiled)});
    return delegates_.back().delegate.get();
  }

  MappedFile file_;
  DataFiles data_files_;
  Program program_;
  Capabilities capabilities_;
  Options options_;
  ProgramData data_{program_, data_files_};
  std::vector<const Method*> methods_;  // that are compiled
  std::map<const ProgramDelegate*, CompiledDelegate::SharedValues> shared_;
  SharedTexts texts_;
  std::vector<Entry> delegates_;
};

}  // namespace

Result<CompileSettings> CompileSettings::parse(std::string_view text) {
  CompileSettings out;
  TRY_ASSIGN(const Json json, Json::parse(text));
  out.capabilities.emplace();
  if (const Json* capabilities = json.find("capabilities")) {
    if (capabilities->text() && *capabilities->text() == "adapter") {
      out.capabilities.reset();
    } else {
      TRY_ASSIGN(out.capabilities, read_capabilities(*capabilities));
    }
  }
  for (const std::string_view key : {"methods", "sizes"}) {
    const Json* list = json.find(key);
    if (list == nullptr) continue;
    CHECK_OR_FAIL(list->items(), ErrorKind::InvalidArgument, "'", key, "' must be a list");
    for (const Json& item : *list->items()) {
      if (key == "methods") {
        TRY_ASSIGN(out.methods.emplace_back(), text_of(key, &item));
      } else {
        TRY_ASSIGN(out.sizes.emplace_back(), parse_call(item));
      }
    }
  }
  return out;
}

Result<std::unique_ptr<Compilation>> compile(const std::string& pte,
                                             std::span<const std::string> data_files,
                                             const CompileSettings& settings) {
  TRY_ASSIGN(const Options options, resolve_options({}));
  TRY_ASSIGN(MappedFile file, MappedFile::open(pte));
  auto program = Program::read(file.bytes());
  if (!program) return std::unexpected(std::move(program).error().within(pte));
  TRY_ASSIGN(DataFiles data,
             DataFiles::open(data_files.empty() ? std::span(options.data_files) : data_files));
  Capabilities capabilities;
  if (settings.capabilities) {
    capabilities = *settings.capabilities;
  } else {
    TRY_ASSIGN(const auto device, acquire_device(options));
    capabilities = device->capabilities();
  }
  capabilities.dialect = WgslDialect::Tint;  // executors translate the little that differs
  auto out = std::make_unique<CompiledProgram>(std::move(file), std::move(data),
                                               *std::move(program), capabilities, options);
  if (auto compiled = out->run(settings); !compiled)
    return std::unexpected(std::move(compiled).error().within(pte));
  return out;
}

}  // namespace etwebgpu
