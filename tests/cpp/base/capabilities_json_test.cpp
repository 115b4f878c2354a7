#include "base/capabilities_json.h"

#include <gtest/gtest.h>

namespace etwebgpu {
namespace {

std::string text_of(const Capabilities& capabilities) {
  JsonWriter json;
  json.begin_object();
  write_capabilities(json, capabilities);
  return json.end_object().take();
}

Result<Capabilities> read(std::string_view text) {
  TRY_ASSIGN(const Json json, Json::parse(text));
  return read_capabilities(json);
}

TEST(CapabilitiesJson, WhatIsWrittenIsRead) {
  Capabilities c;
  c.adapter_class = AdapterClass::Software;
  c.dialect = WgslDialect::Naga;
  c.max_buffer_size = 1ull << 40;
  c.max_workgroup_size[2] = 7;
  c.subgroups = c.f16 = true;
  c.matrix_size = 16;
  c.few_rows_from = 1 << 10;
  c.byte_products_from = 1 << 20;
  const auto back = read(text_of(c));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(text_of(*back), text_of(c));
  EXPECT_EQ(back->max_workgroup_size[2], 7u);
  EXPECT_EQ(back->dialect, WgslDialect::Naga);
  EXPECT_EQ(back->few_rows_from, c.few_rows_from);
  EXPECT_EQ(back->byte_products_from, c.byte_products_from);
}

TEST(CapabilitiesJson, WhatIsNotSaidIsTheDefault) {
  const auto read_nothing = read("{}");
  ASSERT_TRUE(read_nothing);
  EXPECT_EQ(text_of(*read_nothing), text_of(Capabilities{}));
  EXPECT_EQ(read_nothing->byte_products_from, UINT64_MAX);
}

TEST(CapabilitiesJson, MistakesNameTheMember) {
  const std::pair<const char*, const char*> mistakes[] = {
      {"3", "must be a JSON object"},
      {R"({"version": 2})", "'version' must be 1"},
      {R"({"max_bufer_size": 1})", "no member 'max_bufer_size'"},
      {R"({"max_storage_buffers": 4294967296})", "'max_storage_buffers' must be a whole number"},
      {R"({"max_buffer_size": -1})", "'max_buffer_size' must be a whole number"},
      {R"({"f16": "yes"})", "'f16' must be true or false"},
      {R"({"dialect": "glsl"})", "'dialect' must be one of"},
      {R"({"max_workgroup_size": [1, 2]})", "a list of three"},
  };
  for (const auto& [text, part] : mistakes) {
    const auto result = read(text);
    ASSERT_FALSE(result) << text;
    EXPECT_NE(result.error().message.find(part), std::string::npos) << result.error().message;
  }
}

}  // namespace
}  // namespace etwebgpu
