#include "plan/kernel_verdicts.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"

namespace etwebgpu {
namespace {

using Outcome = KernelVerdict::Outcome;

std::string text_of(const Json& json, std::string_view key) {
  const Json* member = json.find(key);
  return member != nullptr && member->text() != nullptr ? *member->text() : std::string();
}

template <typename Enum, std::size_t N>
std::optional<Enum> named(std::string_view text, const std::array<Enum, N>& all) {
  const auto found = std::ranges::find(all, text, [](Enum one) { return name(one); });
  return found == all.end() ? std::nullopt : std::optional(*found);
}

std::optional<KernelVerdict> read_verdict(const Json& json) {
  constexpr std::array kOutcomes = {Outcome::Agrees, Outcome::Differs, Outcome::Untried};
  const auto outcome = named(text_of(json, "outcome"), kOutcomes);
  if (!outcome) return std::nullopt;
  KernelVerdict out{*outcome, text_of(json, "kernel"), text_of(json, "why")};
  const Json* features = json.find("given_up");
  if (features == nullptr || features->items() == nullptr) return out;
  for (const Json& item : *features->items()) {
    const auto feature = item.text() ? named(*item.text(), kKernelFeatures) : std::nullopt;
    if (!feature) return std::nullopt;
    out.given_up.push_back(*feature);
  }
  return out;
}

}  // namespace

void write_given_up(JsonWriter& json, std::string_view key, const KernelVerdict& verdict) {
  json.key(key).begin_array();
  for (const KernelFeature feature : verdict.given_up) json.value(name(feature));
  json.end_array();
}

void write_verdicts(JsonWriter& json, const KernelVerdicts& verdicts) {
  json.begin_array();
  for (const auto& [text, verdict] : verdicts) {
    json.begin_object().member("text", text).member("kernel", verdict.kernel);
    json.member("outcome", name(verdict.outcome));
    if (!verdict.why.empty()) json.member("why", verdict.why);
    if (!verdict.given_up.empty()) write_given_up(json, "given_up", verdict);
    json.end_object();
  }
  json.end_array();
}

KernelVerdicts read_verdicts(const Json& list) {
  KernelVerdicts out;
  if (list.items() == nullptr) return out;
  for (const Json& kernel : *list.items())
    if (auto verdict = read_verdict(kernel)) out[text_of(kernel, "text")] = *std::move(verdict);
  return out;
}

std::string replacement_text(const KernelVerdict& verdict, std::string_view where) {
  std::string features;
  for (const KernelFeature feature : verdict.given_up)
    features += cat(features.empty() ? "" : ", ", name(feature));
  const std::string_view kernel = verdict.kernel;
  return cat("self test: the kernel ", kernel.substr(0, kernel.find_first_of("[(")),
             " is wrong on ", where, ", and the model does without ", features, ": ", verdict.why);
}

}  // namespace etwebgpu
