// What decode_delegate accepts, and the sentence it says about everything it does not.
#include "format/delegate.h"

#include <gtest/gtest.h>

#include <functional>

#include "support/format_builder.h"

namespace etwebgpu {
namespace {

using testing::add_blob;
using testing::BlobBuilder;
using testing::ByteVector;
using testing::decoder_blob;
using testing::delegate_blob;
using testing::put;
using testing::put_text;
using vkgraph::GraphTypes;
using vkgraph::VkDataType;

std::string error_of(std::span<const std::byte> blob) {
  const auto graph = decode_delegate(blob);
  return graph ? "accepted" : graph.error().message;
}

TEST(FormatDelegate, DecodesEveryKindOfValue) {
  BlobBuilder b;
  const int tensor = b.input(b.tensor({3, 0, 5}, VkDataType::INT32));
  const int none = b.none(), yes = b.boolean(true), seven = b.integer(-7), half = b.number(0.5);
  const int ints = b.ints({1, -2, std::int64_t{1} << 40});
  const int list = b.list({tensor, none, seven});
  const int text = b.text("mode");
  const int live = b.symint();
  vkgraph::DoubleListT doubles;
  doubles.items = {0.25, -1.5};
  const int double_list = b.add(std::move(doubles));
  vkgraph::BoolListT bools;
  bools.items = {true, false};
  const int bool_list = b.add(std::move(bools));
  const int weight = b.constant("key", {2, 2});
  b.output(b.call("test.op", {tensor, weight, list, b.tensor({1})}));
  b.graph.version = "1";

  const auto graph = decode_delegate(delegate_blob(b.graph));
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(graph->version, "1");
  EXPECT_EQ(graph->tensor(tensor)->bound, (Dims{3, 0, 5}));
  EXPECT_EQ(graph->tensor(tensor)->dtype, DType::Int32);
  EXPECT_EQ(graph->tensor(tensor)->host_dtype, DType::Int32);
  EXPECT_EQ(graph->tensor(tensor)->constant, -1);
  EXPECT_TRUE(graph->is_none(none));
  EXPECT_TRUE(std::get<bool>(graph->value(yes)));
  EXPECT_EQ(std::get<std::int64_t>(graph->value(seven)), -7);
  EXPECT_EQ(std::get<double>(graph->value(half)), 0.5);
  EXPECT_EQ(std::get<IntList>(graph->value(ints)).items[2], std::int64_t{1} << 40);
  EXPECT_EQ(std::get<ValueList>(graph->value(list)).items,
            (std::vector<ValueId>{tensor, none, seven}));
  EXPECT_EQ(std::get<std::string>(graph->value(text)), "mode");
  EXPECT_TRUE(graph->is_symint(live));
  EXPECT_EQ(std::get<DoubleList>(graph->value(double_list)).items[1], -1.5);
  EXPECT_EQ(std::get<BoolList>(graph->value(bool_list)).items, (std::vector<bool>{true, false}));
  EXPECT_EQ(graph->tensor(weight)->constant, 0);
  EXPECT_EQ(graph->constants[0].key, "key");
  EXPECT_EQ(graph->constants[0].length, 16u);
  ASSERT_EQ(graph->calls.size(), 1u);
  EXPECT_EQ(graph->calls[0].name, "test.op");
  EXPECT_EQ(graph->inputs, (std::vector<ValueId>{tensor}));
  EXPECT_EQ(graph->outputs.size(), 1u);
}

TEST(FormatDelegate, KeepsTheHostDtypeOfNarrowedActivations) {
  BlobBuilder b = add_blob();
  auto* tensor = b.graph.values[0]->value.AsVkTensor();
  tensor->datatype = VkDataType::FLOAT16;
  tensor->staging_datatype = VkDataType::FLOAT32;
  const auto graph = decode_delegate(delegate_blob(b.graph));
  ASSERT_TRUE(graph);
  EXPECT_EQ(graph->tensor(0)->dtype, DType::Float16);
  EXPECT_EQ(graph->tensor(0)->host_dtype, DType::Float32);
}

TEST(FormatDelegate, ReadsBlobsAtAnyAlignment) {
  const ByteVector blob = delegate_blob(decoder_blob().graph);
  ByteVector shifted(blob.size() + 16);
  for (std::size_t shift = 0; shift < 16; ++shift) {
    std::ranges::copy(blob, shifted.begin() + static_cast<std::ptrdiff_t>(shift));
    const auto graph = decode_delegate(std::span(shifted).subspan(shift, blob.size()));
    ASSERT_TRUE(graph) << graph.error().message;
  }
}

TEST(FormatDelegate, FindsConstantsInsideTheBlob) {
  BlobBuilder b = add_blob();
  b.constant("", {2, 2});
  b.graph.constants[0]->offset = 16;
  const ByteVector data(32, std::byte{7});
  const ByteVector blob = delegate_blob(b.graph, data);
  const auto graph = decode_delegate(blob);
  ASSERT_TRUE(graph) << graph.error().message;
  EXPECT_EQ(graph->constants[0].offset, 16u);
  const auto section = delegate_constants(blob);
  ASSERT_TRUE(section);
  EXPECT_EQ(section->size, 32u);
  EXPECT_EQ(blob[section->offset], std::byte{7});
}

TEST(FormatDelegate, RefusesBrokenHeaders) {
  const ByteVector good = delegate_blob(add_blob().graph);
  auto broken = [&](auto edit) {
    ByteVector blob = good;
    edit(blob);
    return error_of(blob);
  };
  EXPECT_SAYS(error_of({}), "0 bytes are too few");
  EXPECT_SAYS(broken([](ByteVector& b) { put_text(b, 4, "VH\x01!"); }),
              "magic bytes are 'VH\\x01!', expected 'VH00'");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint16_t>(b, 8, 29); }), "header size 29");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint16_t>(b, 8, 65535); }), "header size 65535");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 10, 8); }),
              "offset 8 overlaps the 30-byte header");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 10, 0xffffffff); }),
              "flatbuffer at offset 4294967295");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 14, 0xfffffff0); }),
              "with 4294967280 bytes does not fit");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 14, 4); }), "too few");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 18, 0xffffffff); }),
              "constants at offset 4294967295");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint64_t>(b, 22, ~0ull); }),
              "with 18446744073709551615 bytes do not fit");
  EXPECT_SAYS(broken([](ByteVector& b) { put_text(b, 36, "VK99"); }),
              "identifier is 'VK99', expected 'VK00'");
  EXPECT_SAYS(broken([](ByteVector& b) { put<std::uint32_t>(b, 32, 0x7fffffff); }), "malformed");
}

struct Broken {
  const char* name;
  std::function<void(BlobBuilder&)> edit;  // of add_blob(): values 0 x, 1 y, 2 Int, 3 sum
  const char* message;
};

class FormatDelegateRefuses : public ::testing::TestWithParam<Broken> {};

TEST_P(FormatDelegateRefuses, WithTheReason) {
  BlobBuilder b = add_blob();
  GetParam().edit(b);
  EXPECT_SAYS(error_of(delegate_blob(b.graph)), GetParam().message);
}

const Broken kBroken[] = {
    {"ArgumentOutOfRange", [](auto& b) { b.graph.chain[0]->args[2] = 900; },
     "call 0: 'aten.add.Tensor': argument 2 refers to value 900, but the graph has 4 values"},
    {"ArgumentNegative", [](auto& b) { b.graph.chain[0]->args[0] = -1; }, "refers to value -1"},
    {"NoName", [](auto& b) { b.graph.chain[0]->name = ""; }, "call 0: the operator has no name"},
    {"ReservedName", [](auto& b) { b.graph.chain[0]->name = "fused.mlp"; },
     "'fused.mlp' is reserved"},
    {"UnprintableName", [](auto& b) { b.graph.chain[0]->name = "a\nb"; },
     "'a\\x0ab' is not printable"},
    {"LongName", [](auto& b) { b.graph.chain[0]->name = std::string(500, 'a'); },
     "is not printable"},
    {"NoArguments", [](auto& b) { b.graph.chain[0]->args.clear(); }, "has no arguments"},
    {"InputOutOfRange", [](auto& b) { b.graph.input_ids[1] = 4; },
     "input 1 refers to value 4, but the graph has 4 values"},
    {"InputIsInt", [](auto& b) { b.graph.input_ids[1] = 2; },
     "input 1 refers to value 2, which is neither a tensor nor a SymInt"},
    {"InputTwice", [](auto& b) { b.graph.input_ids[1] = 0; },
     "input 1 refers to value 0, which is an earlier"},
    {"InputIsConstant",
     [](auto& b) { b.graph.input_ids[1] = static_cast<std::uint32_t>(b.constant("k", {1})); },
     "input 1 refers to value 4, which is a constant"},
    {"OutputOutOfRange", [](auto& b) { b.graph.output_ids[0] = 0xffffffff; },
     "output 0 refers to value 4294967295"},
    {"SelfContainingList", [](auto& b) { b.list({0, 4}); }, "value 4: the list contains itself"},
    {"ListsInACircle", [](auto& b) { b.list({5}), b.list({4}); },
     "value 4: list item 0 is value 5, another list"},
    {"ListItemOutOfRange", [](auto& b) { b.list({0, 77}); },
     "value 4: list item 1 refers to value 77"},
    {"ListItemNegative", [](auto& b) { b.list({-5}); }, "value 4: list item 0 refers to value -5"},
    {"DimsOverflow", [](auto& b) { b.tensor({0xffffffff, 0xffffffff, 0xffffffff}); },
     "value 4: tensor sizes [4294967295, 4294967295, 4294967295] make more than"},
    {"DimsOverflowBesideZero", [](auto& b) { b.tensor({0, 0xffffffff, 0xffffffff}); },
     "make more than"},
    {"RankTooHigh", [](auto& b) { b.tensor({1, 1, 1, 1, 1, 1, 1, 1, 1}); },
     "tensor rank 9 is above 8"},
    {"UnknownDtype", [](auto& b) { b.tensor({1}, static_cast<VkDataType>(42)); },
     "value 4: tensor dtype 42 is unknown"},
    {"UnsetDtype", [](auto& b) { b.tensor({1}, VkDataType::UNSET); },
     "tensor dtype 127 is unknown"},
    {"UnknownStagingDtype",
     [](auto& b) {
       b.graph.values[0]->value.AsVkTensor()->staging_datatype = static_cast<VkDataType>(-3);
     },
     "value 0: staging dtype -3 is unknown"},
    {"StagingDtypeOfAnotherKind",
     [](auto& b) { b.graph.values[0]->value.AsVkTensor()->staging_datatype = VkDataType::INT32; },
     "value 0: a tensor of type float32 has the staging dtype int32"},
    {"UnknownKind",
     [](auto& b) {
       b.none();
       b.graph.values[4]->value.Reset();
     },
     "value 4: kind 0 is unknown"},
    {"ConstantOutOfRange", [](auto& b) { b.tensor({1}, VkDataType::FLOAT32, 3); },
     "value 4: tensor refers to constant 3, but the graph has 0 constants"},
    {"ConstantTooShort",
     [](auto& b) {
       b.constant("wq", {2, 3});
       b.graph.constants[0]->length = 20;
     },
     "value 4: tensor float32 [2, 3] needs 24 bytes, but constant 0 'wq' has 20"},
    {"UnprintableKey", [](auto& b) { b.constant("w\x1bq", {2, 3}); },
     "constant 0: the key 'w\\x1bq' is not printable"},
    {"ConstantNowhere",
     [](auto& b) {
       b.constant("wq", {2, 3});
       b.graph.constants[0]->named_key = "";
     },
     "constant 0 has neither a key nor an offset"},
    {"ConstantOutsideItsSection",
     [](auto& b) {
       b.constant("", {2, 3});
       b.graph.constants[0]->offset = 1ull << 63;
     },
     "constant 0 at offset 9223372036854775808 with 24 bytes does not fit"},
};
INSTANTIATE_TEST_SUITE_P(Each, FormatDelegateRefuses, ::testing::ValuesIn(kBroken),
                         [](const auto& info) { return std::string(info.param.name); });

// One vector or text can be referred to from everywhere; decoding must not multiply it.
TEST(FormatDelegate, RefusesAmplification) {
  flatbuffers::FlatBufferBuilder builder;
  const auto items = builder.CreateVector(std::vector<std::int64_t>(1000, 1));
  std::vector<flatbuffers::Offset<vkgraph::VkValue>> values;
  for (int i = 0; i < 1000; ++i) {
    const auto list = vkgraph::CreateIntList(builder, items);
    values.push_back(vkgraph::CreateVkValue(builder, GraphTypes::IntList, list.Union()));
  }
  vkgraph::FinishVkGraphBuffer(builder,
                               vkgraph::CreateVkGraph(builder, 0, 0, builder.CreateVector(values)));
  ByteVector blob = delegate_blob({});
  put<std::uint32_t>(blob, 14, builder.GetSize());
  blob.resize(32);
  const ByteVector flatbuffer = testing::bytes_of(builder);
  testing::append_bytes(blob, flatbuffer);
  put<std::uint32_t>(blob, 18, 0);
  EXPECT_SAYS(error_of(blob), "lists repeat implausibly");
}

TEST(FormatDelegate, RefusesListsUsedImplausiblyOften) {
  BlobBuilder b = add_blob();
  const int list = b.list(std::vector<std::int32_t>(2000, 0));
  for (int i = 0; i < 2000; ++i) b.call("aten.cat.default", {list, 2, 3});
  EXPECT_SAYS(error_of(delegate_blob(b.graph)), "used implausibly often");
}

}  // namespace
}  // namespace etwebgpu
