#include "format/file_json.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <type_traits>
#include <variant>

#include "format/flat_tensor.h"
#include "format/state_names.h"

namespace etwebgpu {
namespace {

template <typename T>
constexpr bool is_plain = std::is_arithmetic_v<T> || std::is_same_v<T, std::string>;

// The bytes of a compile spec, or none.
std::span<const std::byte> spec_of(const ProgramDelegate& delegate, std::string_view key) {
  const auto spec = std::ranges::find(delegate.specs, key, &CompileSpec::key);
  return spec == delegate.specs.end() ? std::span<const std::byte>() : spec->value;
}

void write_content(JsonWriter& json, const ProgramValue& value) {
  std::visit(
      [&]<typename T>(const T& content) {
        if constexpr (std::is_same_v<T, ProgramTensor>) {
          json.member("dtype", content.dtype_name);
          write_array(json, "sizes", content.sizes, [&](std::int64_t size) { json.value(size); });
          json.member("dynamic", content.dynamism != Dynamism::Static);
        } else if constexpr (is_plain<T>) {
          json.member("value", content);
        } else {
          json.key("value").null();
        }
      },
      value);
}

void write_values(JsonWriter& json, std::string_view name, std::span<const std::int32_t> ids,
                  std::span<const ProgramValue> values) {
  json.key(name).begin_array();
  for (std::size_t i = 0; i < values.size(); ++i) {
    json.begin_object().member("id", ids[i]);
    write_content(json, values[i]);
    json.end_object();
  }
  json.end_array();
}

void write_delegate(JsonWriter& json, const ProgramDelegate& delegate) {
  json.begin_object().member("backend", delegate.backend);
  json.member("offset", delegate.blob.offset).member("size", delegate.blob.size);
  json.member("aliased", is_aliased(delegate));
  json.member("states", state_names_text(delegate)).end_object();
}

void write_named_data(JsonWriter& json, const Program::NamedData& named_data) {
  write_array(json, "named_data", named_data, [&](const auto& entry) {
    json.begin_object().member("key", entry.first);
    json.member("offset", entry.second.offset).member("size", entry.second.size).end_object();
  });
}

// Exactly: JSON's numbers have no infinities, and JavaScript's integers end at 2^53.
template <typename T>
std::string exact(T number) {
  char buffer[40];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, number).ptr};
}

void write_host_value(JsonWriter& json, const ProgramValue& value) {
  json.begin_object();
  std::visit(
      [&]<typename T>(const T& content) {
        if constexpr (std::is_same_v<T, ProgramTensor>) {
          write_content(json, value);
          if (!content.contiguous) json.member("contiguous", false);
        } else if constexpr (std::is_same_v<T, ProgramList>) {
          write_array(json, "ids", content.ids, [&](std::int32_t id) { json.value(id); });
        } else if constexpr (std::is_same_v<T, std::int64_t>) {
          json.member("int", exact(content));
        } else if constexpr (std::is_same_v<T, double>) {
          json.member("double", exact(content));
        } else if constexpr (std::is_same_v<T, std::vector<double>>) {
          write_array(json, "doubles", content, [&](double item) { json.value(exact(item)); });
        } else if constexpr (std::is_same_v<T, std::vector<bool>>) {
          write_array(json, "bools", content, [&](bool item) { json.value(item); });
        } else if constexpr (is_plain<T>) {
          json.member("value", content);
        }
      },
      value);
  json.end_object();
}

void write_step(JsonWriter& json, const Step& step) {
  constexpr std::string_view kKinds[] = {"kernel", "call", "move", "jump", "free"};
  json.begin_object().member("do", kKinds[static_cast<std::size_t>(step.kind)]);
  json.member("index", step.index);
  write_array(json, "ids", step.ids, [&](std::int32_t id) { json.value(id); });
  json.end_object();
}

void write_host_plan(JsonWriter& json, const HostPlan& plan) {
  json.key("host").begin_object();
  write_array(json, "steps", plan.steps, [&](const Step& step) { write_step(json, step); });
  write_array(json, "values", plan.values,
              [&](const ProgramValue& value) { write_host_value(json, value); });
  write_array(json, "contents", plan.contents, [&](const auto& entry) {
    const auto& [id, contents] = entry;
    json.begin_object().member("id", id).member("key", contents.key);
    json.member("offset", contents.part.offset).member("size", contents.part.size).end_object();
  });
  write_array(json, "planned", plan.planned, [&](std::int32_t id) { json.value(id); });
  json.end_object();
}

}  // namespace

bool is_aliased(const ProgramDelegate& delegate) {
  const auto value = spec_of(delegate, "alias_buffer_mutations");
  return !value.empty() && value.front() != std::byte{0};
}

std::string_view state_names_text(const ProgramDelegate& delegate) {
  const auto value = spec_of(delegate, kStateNames);
  return {reinterpret_cast<const char*>(value.data()), value.size()};
}

void write_method(JsonWriter& json, const Method& method) {
  json.begin_object().member("name", method.name);
  json.member("kernel_calls", method.kernel_calls);
  write_array(json, "kernels", method.kernels, [&](const KernelUse& k) { json.value(k.name); });
  write_values(json, "inputs", method.input_ids, method.inputs);
  write_values(json, "outputs", method.output_ids, method.outputs);
  write_array(json, "delegates", method.delegates,
              [&](const ProgramDelegate& delegate) { write_delegate(json, delegate); });
  write_array(json, "calls", method.calls, [&](const DelegateCall& call) {
    json.begin_object().member("delegate", call.delegate);
    write_values(json, "values", call.ids, call.values);
    json.end_object();
  });
  if (method.host_plan) write_host_plan(json, *method.host_plan);
  json.end_object();
}

Result<std::string> program_json(const FileHead& head) {
  TRY_ASSIGN(const Program program, Program::read(head));
  JsonWriter json;
  json.begin_object();
  write_array(json, "methods", program.methods(),
              [&](const Method& method) { write_method(json, method); });
  write_named_data(json, program.named_data());
  json.end_object();
  return json.take();
}

Result<std::string> data_file_json(const FileHead& head) {
  TRY_ASSIGN(const FlatTensorFile file, FlatTensorFile::read(head));
  JsonWriter json;
  json.begin_object();
  write_named_data(json, file.entries());
  json.end_object();
  return json.take();
}

}  // namespace etwebgpu
