// Programs (.pte) and tensor data files (.ptd): what is read, and what is said about broken ones.
#include "format/program.h"

#include <gtest/gtest.h>

#include "base/result.h"
#include "format/delegate.h"
#include "format/file_json.h"
#include "format/flat_tensor.h"
#include "support/format_builder.h"

namespace etwebgpu {
namespace {

namespace fb = executorch_flatbuffer;
using testing::ByteVector;
using testing::NamedBytes;
using testing::put;
using testing::put_text;

std::string error_of(std::span<const std::byte> file) {
  const auto program = Program::read(file);
  return program ? "accepted" : program.error().message;
}

std::string ptd_error_of(std::span<const std::byte> file) {
  const auto data = FlatTensorFile::read(file);
  return data ? "accepted" : data.error().message;
}

const NamedBytes& two_entries() {
  static const NamedBytes entries{{"weight", ByteVector(20, std::byte{1})},
                                  {"bias", ByteVector(4, std::byte{2})}};
  return entries;
}

TEST(FormatProgram, ReadsMethodsDelegatesAndNamedData) {
  const auto graph = testing::decoder_blob().graph;
  const ByteVector file = testing::program_file(graph);
  const auto program = Program::read(file);
  ASSERT_TRUE(program) << program.error().message;
  ASSERT_EQ(program->methods().size(), 3u);

  const Method* forward = program->method("forward");
  ASSERT_NE(forward, nullptr);
  EXPECT_FALSE(forward->is_constant());
  ASSERT_EQ(forward->calls.size(), 1u);
  EXPECT_EQ(forward->calls[0].ids.size(), forward->calls[0].values.size());
  EXPECT_EQ(forward->kernel_calls, 0u);
  const auto& tokens = std::get<ProgramTensor>(forward->inputs[0]);
  EXPECT_EQ(tokens.sizes, (std::vector<std::int64_t>{1, 31}));
  EXPECT_EQ(tokens.dtype, DType::Int64);
  EXPECT_EQ(tokens.dtype_name, "int64");
  EXPECT_EQ(tokens.dynamism, Dynamism::Bounded);
  ASSERT_EQ(forward->delegates.size(), 1u);
  EXPECT_EQ(forward->delegates[0].backend, "VulkanBackend");
  EXPECT_EQ(forward->delegates[0].specs[0].key, "require_dynamic_shapes");
  EXPECT_EQ(forward->delegates[0].specs[0].value[0], std::byte{1});

  EXPECT_EQ(std::get<std::int64_t>(*program->constant("get_max_seq_len")), 32);
  EXPECT_TRUE(std::get<bool>(*program->constant("use_kv_cache")));
  EXPECT_EQ(program->constant("forward"), nullptr);
  EXPECT_EQ(program->constant("absent"), nullptr);

  const auto decoded = decode_delegate(program->bytes(forward->delegates[0].blob));
  ASSERT_TRUE(decoded) << decoded.error().message;
  for (const Constant& constant : decoded->constants) {
    const auto part = program->named_data(constant.key);
    ASSERT_TRUE(part) << constant.key;
    EXPECT_EQ(part->size, constant.length);
  }
  EXPECT_FALSE(program->named_data("absent"));
}

TEST(FormatProgram, ReadsMisalignedFilesWithoutReferringToACopy) {
  fb::ProgramT object = testing::program_object({});
  auto inlined = std::make_unique<fb::BackendDelegateInlineDataT>();
  inlined->data = {1, 2, 3};
  object.backend_delegate_data.push_back(std::move(inlined));
  object.execution_plan[0]->delegates[0]->processed->location = fb::DataLocation::INLINE;
  ByteVector file = testing::program_file(std::move(object), {});
  file.insert(file.begin(), std::byte{0});
  const auto bytes = std::span<const std::byte>(file).subspan(1);
  const auto program = Program::read(bytes);
  ASSERT_TRUE(program) << program.error().message;
  const auto blob = program->bytes(program->methods()[0].delegates[0].blob);
  ASSERT_EQ(blob.size(), 3u);
  EXPECT_EQ(blob[2], std::byte{3});
  EXPECT_TRUE(blob.data() >= bytes.data() && blob.data() < bytes.data() + bytes.size());
}

TEST(FormatProgram, RefusesBrokenFiles) {
  const ByteVector good = testing::program_file(testing::add_blob().graph);
  auto broken = [&](auto edit) {
    ByteVector file = good;
    edit(file);
    return error_of(file);
  };
  EXPECT_SAYS(error_of({}), "program: flatbuffer: 0 bytes are too few");
  EXPECT_SAYS(broken([](auto& f) { put_text(f, 4, "ET99"); }),
              "identifier is 'ET99', expected 'ET12'");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint32_t>(f, 12, 8); }), "header size 8");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint64_t>(f, 16, ~0ull); }),
              "program of 18446744073709551615 bytes does not fit");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint64_t>(f, 24, ~0ull); }),
              "at offset 18446744073709551615 do not fit");
  EXPECT_SAYS(broken([](auto& f) { f.resize(f.size() - 1); }), "is it truncated?");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint32_t>(f, 0, 0x7ffffff0); }), "malformed");
}

TEST(FormatProgram, RefusesBrokenContent) {
  auto broken = [&](auto edit) {
    fb::ProgramT object = testing::program_object(two_entries());
    edit(object);
    return error_of(testing::program_file(
        std::move(object), {ByteVector(8), two_entries()[0].second, two_entries()[1].second}));
  };
  EXPECT_EQ(broken([](auto&) {}), "accepted");
  EXPECT_SAYS(broken([](auto& p) { p.execution_plan[0]->inputs[1] = 9; }),
              "method 0 'forward': input 1 refers to value 9, but the method has 3 values");
  EXPECT_SAYS(broken([](auto& p) { p.execution_plan[0]->outputs[0] = -1; }),
              "output 0 refers to value -1");
  EXPECT_SAYS(
      broken([](auto& p) { p.execution_plan[0]->values[0]->val.AsTensor()->sizes = {1, -4}; }),
      "input 0, value 0: tensor size -4 in dimension 1 is negative");
  EXPECT_SAYS(
      broken([](auto& p) { p.execution_plan[0]->values[0]->val.AsTensor()->sizes.resize(17); }),
      "tensor rank 17 is above 16");
  EXPECT_SAYS(broken([](auto& p) { p.execution_plan[0]->delegates[0]->processed->index = 7; }),
              "delegate 0: the data refers to segment 7, but the file has 3 segments");
  EXPECT_SAYS(broken([](auto& p) {
                p.execution_plan[0]->delegates[0]->processed->location = fb::DataLocation::INLINE;
              }),
              "refers to inline data 0, but the program has 0");
  EXPECT_SAYS(broken([](auto& p) { p.execution_plan[0]->delegates[0]->processed.reset(); }),
              "'VulkanBackend' has no data");
  EXPECT_SAYS(broken([](auto& p) { p.named_data[1]->segment_index = 80; }),
              "named data 'bias' refers to segment 80");
  EXPECT_SAYS(broken([](auto& p) { p.named_data[1]->key = "weight"; }),
              "named data 'weight' appears twice");
  EXPECT_SAYS(broken([](auto& p) { p.named_data[0]->key = ""; }), "named data 0 has no key");
}

// A call of operator `index` behind the delegate's.
void add_kernel_call(fb::ExecutionPlanT& plan, std::int32_t index) {
  fb::KernelCallT call;
  call.op_index = index;
  auto instruction = std::make_unique<fb::InstructionT>();
  instruction->instr_args.Set(std::move(call));
  plan.chains[0]->instructions.push_back(std::move(instruction));
}

void add_operator(fb::ExecutionPlanT& plan, std::string name, std::string overload) {
  auto op = std::make_unique<fb::OperatorT>();
  op->name = std::move(name);
  op->overload = std::move(overload);
  plan.operators.push_back(std::move(op));
}

void keep_outside(fb::TensorT& tensor, std::string name) {
  tensor.extra_tensor_info = std::make_unique<fb::ExtraTensorInfoT>();
  tensor.extra_tensor_info->location = fb::TensorDataLocation::EXTERNAL;
  tensor.extra_tensor_info->fully_qualified_name = std::move(name);
}

TEST(FormatProgram, SaysWhatIsLeftToTheHost) {
  fb::ProgramT object = testing::program_object({});
  fb::ExecutionPlanT& plan = *object.execution_plan[0];
  add_operator(plan, "aten::unused", "out");
  add_operator(plan, "aten::add", "out");
  add_operator(plan, "aten::_local_scalar_dense", "");
  for (const std::int32_t index : {1, 2, 1}) add_kernel_call(plan, index);
  plan.values[1]->val.AsTensor()->shape_dynamism = fb::TensorShapeDynamism::STATIC;
  keep_outside(*plan.values[2]->val.AsTensor(), "layer.weight");
  const ByteVector file = testing::program_file(std::move(object), {ByteVector(8)});
  const auto program = Program::read(file);
  ASSERT_TRUE(program) << program.error().message;

  const Method& forward = program->methods()[0];
  EXPECT_EQ(forward.kernel_calls, 3u);
  ASSERT_EQ(forward.kernels.size(), 2u);
  EXPECT_EQ(forward.kernels[0].name, "aten::add.out");
  EXPECT_EQ(forward.kernels[0].calls, 2u);
  EXPECT_EQ(forward.kernels[1].name, "aten::_local_scalar_dense");
  EXPECT_EQ(forward.external_constants, std::vector<std::string>{"layer.weight"});
  EXPECT_EQ(forward.delegates[0].arguments,
            (std::vector{Dynamism::Bounded, Dynamism::Static, Dynamism::Bounded}));
}

TEST(FormatProgram, RefusesCallsOfWhatIsNotThere) {
  auto broken = [&](auto edit) {
    fb::ProgramT object = testing::program_object({});
    edit(*object.execution_plan[0]);
    return error_of(testing::program_file(std::move(object), {ByteVector(8)}));
  };
  EXPECT_SAYS(broken([](auto& p) { add_kernel_call(p, 0); }),
              "method 0 'forward': a call refers to operator 0, but the method has 0");
  EXPECT_SAYS(broken([](auto& p) { add_kernel_call(p, -1); }), "refers to operator -1");
  EXPECT_SAYS(broken([](auto& p) {
                p.chains[0]->instructions[0]->instr_args.AsDelegateCall()->delegate_index = 3;
              }),
              "a call refers to delegate 3, but the method has 1");
  EXPECT_SAYS(broken([](auto& p) {
                p.chains[0]->instructions[0]->instr_args.AsDelegateCall()->args = {0, 17};
              }),
              "argument 1 refers to value 17, but the method has 3 values");
  EXPECT_SAYS(broken([](auto& p) { keep_outside(*p.values[2]->val.AsTensor(), ""); }),
              "value 2 lies in a data file, but has no name");
}

TEST(FormatProgram, ReadsTheStepsOfAHost) {
  const ByteVector file = testing::stepped_file();
  const auto program = Program::read(file);
  ASSERT_TRUE(program) << program.error().message;
  const Method& forward = program->methods()[0];
  ASSERT_TRUE(forward.host_plan);
  const auto& [steps, values, contents, planned] = *forward.host_plan;
  const auto said = [&](std::size_t i) {
    std::string out = cat(static_cast<int>(steps[i].kind), " ", steps[i].index, ":");
    for (const std::int32_t id : steps[i].ids) out += cat(" ", id);
    return out;
  };
  ASSERT_EQ(steps.size(), 5u);
  EXPECT_EQ(said(0), "1 0:");  // the delegate's call
  EXPECT_EQ(said(1), "0 0: 9 6 10 10");
  EXPECT_EQ(said(2), "3 4: 8");
  EXPECT_EQ(said(3), "2 0: 9 10");
  EXPECT_EQ(said(4), "4 0: 10");
  ASSERT_EQ(values.size(), 11u);
  EXPECT_EQ(std::get<ProgramList>(values[4]).ids, (std::vector<std::int32_t>{3, 3}));
  EXPECT_EQ(std::get<ProgramList>(values[6]).ids, (std::vector<std::int32_t>{0, -1}));
  EXPECT_EQ(planned, std::vector<std::int32_t>{10});
  ASSERT_EQ(contents.size(), 2u);
  const FilePart constant = contents.at(9).part, state = contents.at(10).part;
  EXPECT_EQ(constant.size, 8u);
  EXPECT_EQ(state.size, 8u);
  EXPECT_EQ(state.offset + state.size, file.size());
  EXPECT_LT(constant.offset + 8, state.offset);

  const std::string json = *program_json(file);
  for (const char* part :
       {R"({"int":"9223372036854775807"})", R"({"double":"-inf"})", R"({"ids":[0,-1]})",
        R"({"do":"jump","index":4,"ids":[8]})", R"("planned":[10])"})
    EXPECT_SAYS(json, part);
}

TEST(FormatProgram, CallsOfDelegatesAloneAreNoSteps) {
  const ByteVector file = testing::program_file(testing::decoder_blob().graph);
  const auto program = Program::read(file);
  ASSERT_TRUE(program) << program.error().message;
  EXPECT_FALSE(program->methods()[0].host_plan);
}

TEST(FormatProgram, RefusesBrokenSteps) {
  auto broken = [&](auto edit) {
    fb::ProgramT object = testing::stepped_program_object();
    fb::ExecutionPlanT& plan = *object.execution_plan[0];
    edit(object, plan, plan.chains[0]->instructions);
    return error_of(testing::stepped_file(std::move(object)));
  };
  EXPECT_EQ(broken([](auto&, auto&, auto&) {}), "accepted");
  EXPECT_SAYS(broken([](auto&, auto&, auto& steps) {
                steps[1]->instr_args.AsKernelCall()->args = {9, 11};
              }),
              "step 1 refers to value 11, but the method has 11 values");
  EXPECT_SAYS(broken([](auto&, auto&, auto& steps) {
                steps[2]->instr_args.AsJumpFalseCall()->destination_instruction = 6;
              }),
              "step 2 jumps to step 6, but there are 5");
  EXPECT_SAYS(broken([](auto&, auto&, auto& steps) {
                steps[2]->instr_args.AsJumpFalseCall()->destination_instruction = -1;
              }),
              "step 2 jumps to step 18446744073709551615");
  EXPECT_SAYS(broken([](auto&, auto&, auto& steps) {
                steps[4]->instr_args.AsFreeCall()->value_index = -1;
              }),
              "step 4 refers to value -1");
  EXPECT_SAYS(broken([](auto&, auto&, auto& steps) { steps[3]->instr_args = {}; }),
              "step 3: its kind is unknown");
  EXPECT_SAYS(
      broken([](auto&, auto& plan, auto&) { plan.values[4]->val.AsIntList()->items = {1 << 20}; }),
      "value 4 refers to value 1048576");
  EXPECT_SAYS(broken([](auto&, auto& plan, auto&) {
                plan.values[4]->val.AsIntList()->items = {1ll << 40};
              }),
              "int list refers to value 1099511627776");
  EXPECT_SAYS(
      broken([](auto&, auto& plan, auto&) { plan.values[9]->val.AsTensor()->data_buffer_idx = 2; }),
      "value 9: constant 2, but the program has 2");
  EXPECT_SAYS(broken([](auto&, auto& plan, auto&) { plan.values[9]->val.AsTensor()->sizes = {3}; }),
              "value 9: a constant takes 12 bytes, but the file has 8");
  EXPECT_SAYS(broken([](auto&, auto& plan, auto&) {
                plan.values[9]->val.AsTensor()->sizes.assign(4, 1 << 20);
              }),
              "value 9: a constant of more than 2^64 bytes");
  EXPECT_SAYS(
      broken([](auto& program, auto&, auto&) { program.constant_segment->offsets[1] = 25; }),
      "value 9: a constant begins at 25 of a segment of 24 bytes");
  EXPECT_SAYS(broken([](auto& program, auto&, auto&) { program.mutable_data_segments.clear(); }),
              "value 10: mutable data 0, but the program has 0");
  EXPECT_SAYS(broken([](auto&, auto& plan, auto&) {
                plan.chains.push_back(std::make_unique<fb::ChainT>());
              }),
              "its steps are in 2 chains");
}

TEST(FormatProgram, KnowsTypesItCannotRun) {
  fb::ProgramT object = testing::program_object({});
  object.execution_plan[0]->values[0]->val.AsTensor()->scalar_type = fb::ScalarType::BFLOAT16;
  const ByteVector file = testing::program_file(std::move(object), {ByteVector(8)});
  const auto program = Program::read(file);
  ASSERT_TRUE(program) << program.error().message;
  const auto& tensor = std::get<ProgramTensor>(program->methods()[0].inputs[0]);
  EXPECT_EQ(tensor.dtype_name, "bfloat16");
  EXPECT_FALSE(tensor.dtype);
}

TEST(FormatFlatTensor, ReadsEntries) {
  const ByteVector file = testing::tensor_file(two_entries());
  const auto data = FlatTensorFile::read(file);
  ASSERT_TRUE(data) << data.error().message;
  EXPECT_EQ(data->entries().size(), 2u);
  ASSERT_TRUE(data->data("bias"));
  EXPECT_EQ(data->data("bias")->size(), 4u);
  EXPECT_EQ((*data->data("bias"))[3], std::byte{2});
  EXPECT_FALSE(data->data("absent"));
}

TEST(FormatFlatTensor, RefusesBrokenFiles) {
  const ByteVector good = testing::tensor_file(two_entries());
  auto broken = [&](auto edit) {
    ByteVector file = good;
    edit(file);
    return ptd_error_of(file);
  };
  EXPECT_SAYS(ptd_error_of({}), "tensor data file: 0 bytes are too few");
  EXPECT_SAYS(ptd_error_of(testing::program_file(testing::add_blob().graph)),
              "it is a program (.pte)");
  EXPECT_SAYS(broken([](auto& f) { put_text(f, 8, "FH77"); }), "'FH77', expected 'FH01'");
  EXPECT_SAYS(broken([](auto& f) { put_text(f, 4, "FT77"); }), "'FT77', expected 'FT01'");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint32_t>(f, 12, 8); }), "header size 8");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint64_t>(f, 24, ~0ull); }), "does not fit");
  EXPECT_SAYS(broken([](auto& f) { put<std::uint64_t>(f, 32, ~0ull); }), "do not fit");
  EXPECT_SAYS(broken([](auto& f) { f.resize(f.size() - 1); }), "is it truncated?");
}

}  // namespace
}  // namespace etwebgpu
