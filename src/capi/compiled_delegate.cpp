#include "capi/compiled_delegate.h"

#include <algorithm>
#include <utility>

#include "format/delegate.h"
#include "kernels/kernel_source.h"
#include "passes/passes.h"
#include "plan/plan_json.h"

namespace etwebgpu {
namespace {

constexpr std::size_t kPieceBytes = 4 << 20;

// Fetched for as long as it lives.
class Sources {
 public:
  Sources(ConstantSource& from, const PackedConstant& constant) : from_(from), of_(constant) {}
  Sources(const Sources&) = delete;
  Sources& operator=(const Sources&) = delete;
  ~Sources() {
    for (const std::int32_t index : held_) from_.release(index);
  }

  Result<std::vector<std::span<const std::byte>>> fetch() {
    std::vector<std::span<const std::byte>> out;
    for (const PackedPart& part : of_.parts) {
      const auto held = std::ranges::find(held_, part.constant);
      if (held != held_.end()) {
        out.push_back(out[static_cast<std::size_t>(held - held_.begin())]);
        held_.push_back(part.constant);
        continue;
      }
      TRY_ASSIGN(const std::span<const std::byte> bytes, from_.fetch(part.constant));
      held_.push_back(part.constant);
      out.push_back(bytes);
    }
    return out;
  }

 private:
  ConstantSource& from_;
  const PackedConstant& of_;
  std::vector<std::int32_t> held_;  // by part
};

std::size_t openness(const CallMatch& match) {
  std::size_t out = 0;
  for (const auto& candidates : match.inputs) out += candidates.size();
  return out;
}

// Inputs with zeros, or ones, where a value is not known.
struct Guess {
  Guess(const Model& model, std::span<const LiveEdge> edges, std::int64_t value)
      : elements(edges.size()) {
    for (std::size_t i = 0; i < edges.size(); ++i) {
      const bool is_tensor = model.graph().tensor(model.graph().inputs[i]) != nullptr;
      if (model.wants_host_data(i))
        elements[i].assign(static_cast<std::size_t>(edges[i].sizes.numel()), value);
      inputs.push_back({.sizes = edges[i].sizes,
                        .elements = elements[i],
                        .scalar = is_tensor ? 0 : edges[i].scalar + value});
    }
  }
  std::vector<HostElements> elements;
  std::vector<HostInput> inputs;
};

}  // namespace

std::size_t SharedTexts::add(std::string text) {
  const auto [found, is_new] = places_.try_emplace(std::move(text), texts_.size());
  if (is_new) texts_.push_back(found->first);
  return found->second;
}

std::size_t SharedTexts::add(std::span<const std::byte> uniforms) {
  const std::size_t at = uniforms_.size();
  uniforms_.insert(uniforms_.end(), uniforms.begin(), uniforms.end());
  return at;
}

Result<std::unique_ptr<CompiledDelegate>> CompiledDelegate::create(const DelegateSource& source,
                                                                   const Capabilities& capabilities,
                                                                   const ModelOptions& options,
                                                                   SharedValues shared) {
  TRY_ASSIGN(Graph graph, decode_delegate(source.blob));
  TRY_ASSIGN(const FilePart section, delegate_constants(source.blob));
  std::unique_ptr<CompiledDelegate> out(
      new CompiledDelegate(source, graph.constants, FileHead(source.blob).part(section)));
  DelegateConstants& constants = out->constants_;
  const auto is_zero = [&](std::int32_t constant) { return holds_zeros(constants, constant); };
  if (!source.aliased) TRY(check_lost_states(graph, is_zero));
  std::vector<std::uint8_t> written_elsewhere(graph.values.size(), 0);
  for (const auto& [value, buffer] : shared) written_elsewhere[static_cast<std::size_t>(value)] = 1;
  out->shared_ = std::move(shared);
  const Surroundings surroundings{
      .written_elsewhere = written_elsewhere,
      .integers = [&](const TensorInfo& constant) { return read_integers(constants, constant); },
      .is_zero = is_zero,
      .number = [&](const TensorInfo& constant) { return read_number(constants, constant); }};
  TRY_ASSIGN(out->model_, Model::create(std::move(graph), capabilities, options, surroundings));
  constants.add(out->model_->graph().constants);
  return out;
}

Result<CallMatch> CompiledDelegate::match(std::span<const PassedValue> values) {
  TRY_ASSIGN(CallMatch match, match_call(model_->graph(), values, aliased_));
  Matched matched;
  for (const PassedValue& value : values) matched.values.push_back(value.place);
  const auto known = std::ranges::find(matches_, matched.values, &Matched::values);
  matched.match = match;
  if (known == matches_.end()) {
    matches_.push_back(std::move(matched));
  } else if (openness(match) < openness(known->match)) {
    *known = std::move(matched);
  }
  return match;
}

Result<std::vector<LiveEdge>> CompiledDelegate::plan(std::span<const LiveEdge> inputs,
                                                     SharedTexts& texts) {
  const auto find = [&] {
    return std::ranges::find_if(
        plans_, [&](const Made& made) { return std::ranges::equal(made.inputs, inputs); });
  };
  if (find() == plans_.end()) TRY(make(inputs, texts));
  return outputs_of(*find());
}

Result<void> CompiledDelegate::make(std::span<const LiveEdge> edges, SharedTexts& texts) {
  Guess guess(*model_, edges, 0);
  auto plan = model_->prepare(guess.inputs, true);
  if (!plan) {  // a length, say, which cannot be zero
    Guess other(*model_, edges, 1);
    if (model_->prepare(other.inputs, true)) std::swap(guess, other);
    plan = model_->prepare(guess.inputs, true);
  }
  TRY(plan);
  const Plan* const wide = *plan;
  const auto narrow = model_->prepare(guess.inputs, false);
  if (narrow && *narrow != wide) TRY(keep(**narrow, false, edges, guess.inputs, texts));
  const bool is_for_both = narrow && *narrow == wide;
  return keep(*wide, is_for_both ? std::nullopt : std::optional(true), edges, guess.inputs, texts);
}

Result<void> CompiledDelegate::keep(const Plan& plan, std::optional<bool> wide,
                                    std::span<const LiveEdge> edges,
                                    std::span<const HostInput> inputs, SharedTexts& texts) {
  Made made{.inputs = {edges.begin(), edges.end()}, .wide_integers = wide, .plan = plan};
  made.uniforms = texts.add(plan.uniforms);
  for (const PlannedDispatch& dispatch : plan.dispatches) {
    if (kernels_.contains(dispatch.kernel)) continue;
    TRY_ASSIGN(std::string text,
               kernel_source(model_->kernels()[dispatch.kernel], WgslDialect::Tint));
    kernels_[dispatch.kernel] = texts.add(std::move(text));
  }
  TRY_ASSIGN(made.live, find_live_values(*model_, inputs, wide.value_or(true)));
  plans_.push_back(std::move(made));
  return {};
}

std::vector<LiveEdge> CompiledDelegate::outputs_of(const Made& made) const {
  const Graph& graph = model_->graph();
  std::vector<LiveEdge> out(graph.outputs.size());
  for (const PlannedTensor& output : made.plan.outputs) out[output.position].sizes = output.sizes;
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto slot = std::ranges::find(model_->scalars(), graph.outputs[i]);
    if (slot == model_->scalars().end()) continue;
    const auto& [base, factors] =
        made.live.scalars[static_cast<std::size_t>(slot - model_->scalars().begin())];
    out[i].scalar = base;
    for (std::size_t v = 0; v < factors.size(); ++v)
      out[i].scalar += factors[v] * made.live.values[v].least;
  }
  return out;
}

void CompiledDelegate::write(JsonWriter& json) const {
  json.key("model").begin_object();
  write_model(json, *model_);
  json.end_object();
  write_array(json, "shared_states", shared_, [&](const auto& shared) {
    json.begin_array().value(shared.first).value(shared.second).end_array();
  });
  write_array(json, "matches", matches_, [&](const Matched& matched) {
    json.begin_object();
    write_array(json, "values", matched.values, [&](std::int64_t id) { json.value(id); });
    write_match(json, matched.match);
    json.end_object();
  });
  json.key("kernels").begin_array();
  const std::size_t kernel_count = kernels_.empty() ? 0 : kernels_.rbegin()->first + 1;
  for (std::uint32_t kernel = 0; kernel < kernel_count; ++kernel) {
    const auto text = kernels_.find(kernel);
    text == kernels_.end() ? json.null() : json.value(text->second);
  }
  json.end_array();
  write_array(json, "plans", plans_, [&](const Made& made) {
    json.begin_object().key("sizes").begin_array();
    for (std::size_t i = 0; i < made.inputs.size(); ++i) {
      const bool is_tensor = model_->graph().tensor(model_->graph().inputs[i]) != nullptr;
      is_tensor ? json.value(made.inputs[i].sizes) : json.null();
    }
    json.end_array().key("wide_integers");
    made.wide_integers ? json.value(*made.wide_integers) : json.null();
    json.member("uniforms", made.uniforms);
    write_live_values(json, made.live);
    json.key("plan").begin_object();
    write_plan(json, *model_, made.plan);
    json.end_object().end_object();
  });
}

Result<void> CompiledDelegate::read_constant(
    std::size_t number, const std::function<bool(std::span<const std::byte>)>& take) {
  const auto constants = model_->constants();
  const PackedConstant& constant = number < constants.size()
                                       ? constants[number]
                                       : model_->states()[number - constants.size()].initial;
  TRY_ASSIGN(const std::uint64_t total, packed_size(constant));
  Sources sources(constants_, constant);
  TRY_ASSIGN(std::vector<std::span<const std::byte>> bytes, sources.fetch());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const PackedPart& part = constant.parts[i];
    const std::uint64_t needed = source_size(part);
    CHECK_OR_FAIL(bytes[i].size() >= needed, ErrorKind::InvalidProgram, "constant ", part.constant,
                  " (", name(part.dtype), " ", to_string(part.dims), ") needs ", needed,
                  " bytes and has ", bytes[i].size());
    bytes[i] = bytes[i].first(needed);
  }
  std::vector<std::byte> piece(std::min<std::uint64_t>(kPieceBytes, total));
  for (std::uint64_t at = 0; at < total; at += piece.size()) {
    piece.resize(std::min<std::uint64_t>(kPieceBytes, total - at));
    pack_range(constant, bytes, at, piece);
    if (!take(piece)) return {};
  }
  return {};
}

}  // namespace etwebgpu
