// Thousands of damaged delegate blobs, programs and tensor data files. Each ends in a value or in
// an error that gives a reason, with memory in proportion to the file; what is accepted goes on
// through the planner. The damage is the same on every run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <new>
#include <random>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "format/delegate.h"
#include "format/flat_tensor.h"
#include "format/program.h"
#include "kernels/kernel_source.h"
#include "plan/model.h"
#include "support/format_builder.h"

// Bytes on the heap, counted where nothing else replaces operator new.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define ETWG_COUNT_HEAP 1
#else
#define ETWG_COUNT_HEAP 0
#endif

namespace {
thread_local std::size_t heap_now = 0;
thread_local std::size_t heap_peak = 0;
}  // namespace

#if ETWG_COUNT_HEAP
void* operator new(std::size_t size) {
  void* p = std::malloc(size);
  if (p == nullptr) {
    std::fprintf(stderr, "out of memory: %zu bytes\n", size);
    std::abort();
  }
  heap_now += malloc_usable_size(p);
  heap_peak = std::max(heap_peak, heap_now);
  return p;
}
void operator delete(void* p) noexcept {
  heap_now -= p == nullptr ? 0 : malloc_usable_size(p);
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
#endif

namespace etwebgpu {
namespace {

namespace fb = executorch_flatbuffer;
using testing::ByteVector;

// Runs `work` and returns the most bytes that were on the heap beyond those there before.
template <typename Work>
std::size_t heap_growth(Work work) {
  heap_peak = heap_now;
  const std::size_t before = heap_now;
  work();
  return heap_peak - std::min(heap_peak, before);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::uint64_t next() { return engine_(); }
  std::size_t below(std::size_t n) { return n == 0 ? 0 : static_cast<std::size_t>(next() % n); }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[below(from.size())];
  }

 private:
  std::mt19937_64 engine_;
};

class FormatMutation : public ::testing::Test {
 protected:
  static constexpr std::size_t kDecodeFactor = 64;     // of the file's size
  static constexpr std::uint64_t kWildCalls = 100;     // per operator
  static constexpr std::size_t kModelLimit = 8 << 20;  // for graphs of a few dozen calls

  void TearDown() override {
    std::string tally;
    for (const auto& [outcome, count] : tally_) tally += cat(" ", outcome, " ", count);
    std::printf("[ outcomes ] %s: %zu files:%s\n",
                ::testing::UnitTest::GetInstance()->current_test_info()->name(), files_,
                tally.c_str());
  }

  void check_error(const Error& error, std::string_view stage) {
    ++tally_[cat(stage, " refused")];
    EXPECT_GE(error.message.size(), 20u) << error.message;
    EXPECT_LE(error.message.size(), 1000u) << error.message;
    EXPECT_NE(error.kind, ErrorKind::Internal) << error.message;
    for (char c : error.message) EXPECT_TRUE(c >= 0x20 && c < 0x7f) << error.message;
  }

  void check_blob(std::span<const std::byte> blob) {
    ++files_;
    const std::size_t limit = kDecodeFactor * blob.size() + 4096;
    Result<Graph> graph;
    EXPECT_LE(heap_growth([&] { graph = decode_delegate(blob); }), limit);
    if (!graph) return check_error(graph.error(), "decoder");
    check_graph(*std::move(graph));
  }

  // The rest of the way without a device.
  void check_graph(Graph graph) {
    Result<void> planned;
    EXPECT_LE(heap_growth([&] { planned = plan(std::move(graph)); }), kModelLimit);
    if (!planned) return check_error(planned.error(), "planner");
    ++tally_["accepted"];
  }

  static Result<void> plan(Graph graph) {
    const Surroundings surroundings{
        .is_zero = [](std::int32_t) -> Result<bool> { return true; },
        .number = [](const TensorInfo&) -> Result<std::optional<double>> { return 1.0; }};
    TRY_ASSIGN(const auto model,
               Model::create(std::move(graph), Capabilities(), ModelOptions(), surroundings));
    for (const bool whole : {true, false}) {
      std::vector<HostInput> inputs;
      const std::vector<std::int64_t> elements(64, whole ? 0 : 1);
      for (ValueId id : model->graph().inputs) {
        HostInput input;
        if (const TensorInfo* tensor = model->graph().tensor(id)) {
          input.sizes = tensor->bound;
          if (!whole && input.sizes.rank() > 1)
            input.sizes[1] = std::min<std::int64_t>(3, input.sizes[1]);
          const auto count = std::min<std::int64_t>(input.sizes.numel(), 64);
          input.elements = std::span(elements).first(static_cast<std::size_t>(count));
        }
        inputs.push_back(input);
      }
      TRY(model->prepare(inputs));
    }
    for (const KernelVariant& kernel : model->kernels())
      TRY(kernel_source(kernel, WgslDialect::Tint));
    return {};
  }

  void check_program(std::span<const std::byte> file) {
    ++files_;
    Result<Program> program;
    EXPECT_LE(heap_growth([&] { program = Program::read(file); }),
              kDecodeFactor * file.size() + 4096);
    if (!program) return check_error(program.error(), "reader");
    for (const Method& method : program->methods()) {
      for (const ProgramDelegate& delegate : method.delegates) {
        auto graph = decode_delegate(program->bytes(delegate.blob));
        if (!graph) return check_error(graph.error(), "decoder");
        // Only bytes in the file matter here; the graph itself is checked above.
        for (const Constant& constant : graph->constants) program->named_data(constant.key);
      }
    }
    ++tally_["accepted"];
  }

  void check_tensor_file(std::span<const std::byte> file) {
    ++files_;
    Result<FlatTensorFile> data;
    EXPECT_LE(heap_growth([&] { data = FlatTensorFile::read(file); }),
              kDecodeFactor * file.size() + 4096);
    if (!data) return check_error(data.error(), "reader");
    std::size_t sum = 0;  // every byte must be there
    for (const auto& [key, part] : data->entries()) {
      const std::span<const std::byte> bytes = data->data(key).value();
      for (std::byte b : bytes) sum += std::to_integer<std::size_t>(b);
    }
    ++tally_[sum == 0 ? "accepted empty" : "accepted"];
  }

  // Calls `check` with `count` damaged copies of `good`: cut, flipped, overwritten, shuffled,
  // grown.
  void damage(const ByteVector& good, std::size_t count, std::uint64_t seed,
              const std::function<void(std::span<const std::byte>)>& check) {
    Random random(seed);
    for (std::size_t i = 0; i < count; ++i) {
      ByteVector file = good;
      const std::size_t times = 1 + random.below(3);
      for (std::size_t t = 0; t < times; ++t) damage_once(file, random);
      // An exact heap block, so that the sanitizer sees the first byte read past the end.
      const auto copy = std::make_unique<std::byte[]>(file.size());
      std::ranges::copy(file, copy.get());
      check({copy.get(), file.size()});
      if (HasFailure()) {
        std::printf("first failure at damaged file %zu\n", i);
        return;
      }
    }
  }

  static void damage_once(ByteVector& file, Random& random) {
    static const std::vector<std::uint64_t> kNumbers{0,
                                                     1,
                                                     2,
                                                     3,
                                                     8,
                                                     0x7f,
                                                     0x80,
                                                     0xff,
                                                     0x7fff,
                                                     0x8000,
                                                     0xffff,
                                                     0x10000,
                                                     0x7fffffff,
                                                     0x80000000,
                                                     0xffffffff,
                                                     0xfffffff0,
                                                     0x7fffffffffffffff,
                                                     0x8000000000000000,
                                                     0xffffffffffffffff};
    const std::size_t at = random.below(file.size());
    if (file.empty()) return;
    switch (random.below(8)) {
      case 0:
        return file.resize(at);
      case 1:
        file[at] ^= static_cast<std::byte>(1u << random.below(8));
        return;
      case 2:
        file[at] = static_cast<std::byte>(random.next());
        return;
      case 3:
        return overwrite<std::uint32_t>(file, at & ~std::size_t{3}, random.pick(kNumbers));
      case 4:
        return overwrite<std::uint64_t>(file, at, random.pick(kNumbers));
      case 5:
        return overwrite<std::uint16_t>(file, at & ~std::size_t{1}, random.pick(kNumbers));
      case 6: {  // a plausible offset
        return overwrite<std::uint32_t>(file, at & ~std::size_t{3}, random.below(file.size()));
      }
      default: {
        const std::size_t length = std::min(file.size() - at, random.below(64));
        const std::size_t to = random.below(file.size() - length + 1);
        std::copy_n(ByteVector(file).begin() + static_cast<std::ptrdiff_t>(at), length,
                    file.begin() + static_cast<std::ptrdiff_t>(to));
      }
    }
  }

  template <typename T>
  static void overwrite(ByteVector& file, std::size_t at, std::uint64_t value) {
    if (at + sizeof(T) <= file.size()) testing::put<T>(file, at, static_cast<T>(value));
  }

  std::size_t files_ = 0;
  std::map<std::string, std::size_t> tally_;
};

// --- Graphs that are well-formed flatbuffers and still wrong ---

using vkgraph::GraphTypes;
using vkgraph::VkGraphT;

std::vector<std::size_t> values_of(const VkGraphT& graph, GraphTypes kind) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < graph.values.size(); ++i) {
    if (graph.values[i]->value.type == kind) out.push_back(i);
  }
  return out;
}

vkgraph::VkTensorT* random_tensor(VkGraphT& graph, Random& random) {
  const auto tensors = values_of(graph, GraphTypes::VkTensor);
  return tensors.empty() ? nullptr : graph.values[random.pick(tensors)]->value.AsVkTensor();
}

const std::vector<std::int64_t> kIntegers{0,
                                          1,
                                          -1,
                                          2,
                                          3,
                                          7,
                                          31,
                                          32,
                                          33,
                                          64,
                                          128,
                                          1000,
                                          -2,
                                          -33,
                                          1 << 30,
                                          0x7fffffff,
                                          -0x7fffffff - 1,
                                          std::numeric_limits<std::int64_t>::max(),
                                          std::numeric_limits<std::int64_t>::min()};
const std::vector<std::uint32_t> kExtents{
    0,  1,    2,     3,        5,        16,         31,         32,        33,
    64, 1000, 65536, 1u << 20, 1u << 30, 0x7fffffff, 0x80000000, 0xffffffff};

void change_argument(VkGraphT& graph, Random& random) {
  auto& args = graph.chain[random.below(graph.chain.size())]->args;
  if (args.empty()) return;
  std::int32_t& arg = args[random.below(args.size())];
  switch (random.below(3)) {
    case 0:
      arg = static_cast<std::int32_t>(random.pick(kIntegers));
      return;
    case 1:
      arg = static_cast<std::int32_t>(random.below(graph.values.size() + 2));
      return;
    default:  // another value of the same kind, so that it gets past the signature
      if (arg >= 0 && static_cast<std::size_t>(arg) < graph.values.size()) {
        const auto kind = graph.values[static_cast<std::size_t>(arg)]->value.type;
        arg = static_cast<std::int32_t>(random.pick(values_of(graph, kind)));
      }
  }
}

void change_arguments(VkGraphT& graph, Random& random) {
  auto& args = graph.chain[random.below(graph.chain.size())]->args;
  switch (random.below(4)) {
    case 0:
      args.clear();
      return;
    case 1:
      if (!args.empty())
        args.erase(args.begin() + static_cast<std::ptrdiff_t>(random.below(args.size())));
      return;
    case 2:
      args.insert(args.begin() + static_cast<std::ptrdiff_t>(random.below(args.size() + 1)),
                  static_cast<std::int32_t>(random.below(graph.values.size())));
      return;
    default:
      if (args.size() > 1)
        std::swap(args[random.below(args.size())], args[random.below(args.size())]);
  }
}

void change_sizes(VkGraphT& graph, Random& random) {
  auto* tensor = random_tensor(graph, random);
  if (tensor == nullptr) return;
  switch (random.below(4)) {
    case 0:
      if (tensor->dims.empty()) return;
      tensor->dims[random.below(tensor->dims.size())] = random.pick(kExtents);
      return;
    case 1:
      tensor->dims.push_back(random.pick(kExtents));
      return;
    case 2:
      tensor->dims.resize(random.below(12), 1);
      return;
    default:
      for (std::uint32_t& extent : tensor->dims) extent = random.pick(kExtents);
  }
}

void change_types(VkGraphT& graph, Random& random) {
  auto* tensor = random_tensor(graph, random);
  if (tensor == nullptr) return;
  const auto type =
      static_cast<vkgraph::VkDataType>(random.below(4) == 0 ? random.next() : random.below(8));
  (random.below(4) == 0 ? tensor->staging_datatype : tensor->datatype) = type;
}

void change_constants(VkGraphT& graph, Random& random) {
  if (graph.constants.empty()) return;
  vkgraph::VkBytesT& constant = *graph.constants[random.below(graph.constants.size())];
  auto* tensor = random_tensor(graph, random);
  switch (random.below(6)) {
    case 0:
      constant.named_key.clear();
      return;
    case 1:
      constant.length = static_cast<std::uint64_t>(random.pick(kIntegers));
      return;
    case 2:
      constant.named_key.clear();
      constant.offset = static_cast<std::uint64_t>(random.pick(kIntegers));
      return;
    case 3:
      return graph.constants.resize(random.below(graph.constants.size()));
    case 4:
      return graph.constants.clear();
    default:
      tensor->constant_id = static_cast<std::int32_t>(
          random.below(2) == 0 ? static_cast<std::int64_t>(random.below(graph.constants.size() + 1))
                               : random.pick(kIntegers));
  }
}

void change_lists(VkGraphT& graph, Random& random) {
  const auto lists = values_of(graph, GraphTypes::ValueList);
  if (lists.empty()) return;
  const std::size_t id = random.pick(lists);
  auto& items = graph.values[id]->value.AsValueList()->items;
  switch (random.below(5)) {
    case 0:
      items.push_back(static_cast<std::int32_t>(id));
      return;
    case 1:
      items.push_back(static_cast<std::int32_t>(random.pick(lists)));
      return;
    case 2:
      items.push_back(static_cast<std::int32_t>(random.pick(kIntegers)));
      return;
    case 3:
      items.assign(random.below(40), static_cast<std::int32_t>(random.below(graph.values.size())));
      return;
    default:
      if (!items.empty())
        items[random.below(items.size())] =
            static_cast<std::int32_t>(random.below(graph.values.size()));
  }
}

void change_scalars(VkGraphT& graph, Random& random) {
  const std::size_t id = random.below(graph.values.size());
  auto& value = graph.values[id]->value;
  if (auto* number = value.AsInt()) {
    number->int_val = random.pick(kIntegers);
  } else if (auto* real = value.AsDouble()) {
    static const std::vector<double> kReals{0.0,
                                            -0.0,
                                            1e300,
                                            -1e300,
                                            std::numeric_limits<double>::infinity(),
                                            std::numeric_limits<double>::quiet_NaN()};
    real->double_val = random.pick(kReals);
  } else if (auto* flag = value.AsBool()) {
    flag->bool_val = !flag->bool_val;
  }
}

void change_kind(VkGraphT& graph, Random& random) {
  testing::BlobBuilder fresh;
  fresh.none(), fresh.symint(), fresh.integer(random.pick(kIntegers)), fresh.number(0.5);
  fresh.boolean(true), fresh.text("text"), fresh.ints({1, 2, 3}), fresh.list({0, 1});
  fresh.tensor({1, 2, 3}), fresh.tensor({4}, vkgraph::VkDataType::INT32);
  auto& value = graph.values[random.below(graph.values.size())];
  value = std::move(fresh.graph.values[random.below(fresh.graph.values.size())]);
}

void change_calls(VkGraphT& graph, Random& random) {
  auto& chain = graph.chain;
  if (chain.empty()) return;
  const std::size_t i = random.below(chain.size());
  static const std::vector<std::string> kNames{"",
                                               "fused.mlp",
                                               "aten.unknown.default",
                                               "\x01\xff",
                                               "aten.add.Tensor",
                                               "aten.mul.Tensor",
                                               "aten.cat.default",
                                               "aten.view_copy.default",
                                               "aten.bmm.default",
                                               "aten.permute_copy.default",
                                               "aten.expand_copy.default",
                                               "aten.sum.dim_IntList"};
  switch (random.below(5)) {
    case 0:
      chain[i]->name = random.pick(kNames);
      return;
    case 1:
      chain[i]->name = chain[random.below(chain.size())]->name;
      return;
    case 2:
      chain.erase(chain.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    case 3:
      chain.push_back(std::make_unique<vkgraph::OperatorCallT>(*chain[i]));
      return;
    default:
      std::swap(chain[i], chain[random.below(chain.size())]);
  }
}

void change_edges(VkGraphT& graph, Random& random) {
  auto& ids = random.below(2) == 0 ? graph.input_ids : graph.output_ids;
  const auto id = static_cast<std::uint32_t>(random.below(4) == 0
                                                 ? static_cast<std::size_t>(random.pick(kIntegers))
                                                 : random.below(graph.values.size()));
  switch (random.below(3)) {
    case 0:
      ids.push_back(id);
      return;
    case 1:
      ids.clear();
      return;
    default:
      if (!ids.empty()) ids[random.below(ids.size())] = id;
  }
}

using Change = void (*)(VkGraphT&, Random&);
const std::vector<Change> kChanges{change_argument,  change_arguments, change_sizes,   change_types,
                                   change_constants, change_lists,     change_scalars, change_kind,
                                   change_calls,     change_edges};

TEST_F(FormatMutation, AcceptsTheUndamagedFiles) {
  const auto decoder = testing::decoder_blob().graph;
  check_blob(testing::delegate_blob(testing::add_blob().graph));
  check_blob(testing::delegate_blob(decoder));
  check_program(testing::program_file(decoder));
  check_tensor_file(testing::tensor_file(testing::named_data_of(decoder)));
  EXPECT_EQ(tally_["accepted"], 4u);
}

TEST_F(FormatMutation, EveryTruncationIsRefused) {
  const ByteVector blob = testing::delegate_blob(testing::decoder_blob().graph);
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ++files_;
    const ByteVector cut(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(size));
    const auto graph = decode_delegate(cut);
    ASSERT_FALSE(graph) << size;
    check_error(graph.error(), "decoder");
  }
}

TEST_F(FormatMutation, DamagedBlobs) {
  damage(testing::delegate_blob(testing::decoder_blob().graph), 5000, 1,
         [&](auto b) { check_blob(b); });
  damage(testing::delegate_blob(testing::add_blob().graph), 1000, 2,
         [&](auto b) { check_blob(b); });
}

TEST_F(FormatMutation, WrongGraphs) {
  const VkGraphT good = testing::decoder_blob().graph;
  for (std::uint64_t seed = 0; seed < 6000 && !HasFailure(); ++seed) {
    Random random(seed);
    VkGraphT graph = good;
    const std::size_t times = 1 + random.below(3);
    for (std::size_t t = 0; t < times; ++t) random.pick(kChanges)(graph, random);
    check_blob(testing::delegate_blob(graph, ByteVector(random.below(2) * 4096)));
    if (HasFailure()) std::printf("first failure at seed %zu\n", static_cast<std::size_t>(seed));
  }
  EXPECT_GT(tally_["decoder refused"], 1000u);
  EXPECT_GT(tally_["planner refused"], 1000u);
}

// --- Every operator, with arguments of the right kinds and wild values ---

class WildCall {
 public:
  explicit WildCall(std::uint64_t seed) : random_(seed) {}

  VkGraphT graph(const Op& op) {
    std::vector<std::int32_t> args;
    bool optional = false, output = false;
    std::string_view text = op.signature;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const char kind = text[i];
      if (kind == '[') optional = random_.below(2) == 0;
      if (kind == ']') optional = false;
      if (kind == '>') output = true;
      if (!std::isalpha(kind) && kind != '_') continue;
      if (optional) continue;
      const bool nullable = i + 1 < text.size() && text[i + 1] == '?';
      args.push_back(nullable && random_.below(3) == 0 ? builder_.none() : value(kind, output));
    }
    const int out = builder_.call(std::string(op.name), args);
    if (builder_.graph.values[static_cast<std::size_t>(out)]->value.type == GraphTypes::VkTensor) {
      builder_.output(out);
    }
    return std::move(builder_.graph);
  }

 private:
  int value(char kind, bool output) {
    switch (kind) {
      case 't':
        return tensor(output);
      case 'i':
        return random_.below(8) == 0 ? builder_.input(builder_.symint()) : integer();
      case 'f':
        return random_.below(2) == 0 ? integer() : builder_.number(0.5);
      case 'n':
        return random_.below(2) == 0 ? tensor(output) : integer();
      case 'l':
        return list([this] { return integer(); });
      case 'v':
      case 'o':
        return list([this, output] { return tensor(output); });
      case 's':
        return builder_.text(random_.below(2) == 0 ? "none" : "tanh");
      case 'y':
        return builder_.symint();
      default:
        return builder_.none();
    }
  }

  int integer() {
    static const std::vector<std::int64_t> kSmall{0, 1, -1, 2, 3, 4, 8, 32};
    return builder_.integer(random_.below(4) == 0 ? random_.pick(kIntegers) : random_.pick(kSmall));
  }

  template <typename Item>
  int list(Item item) {
    std::vector<std::int32_t> items;
    for (std::size_t i = random_.below(5); i > 0; --i) items.push_back(item());
    return builder_.list(items);
  }

  // Mostly small and alike, so that some calls fit together; outputs have room.
  int tensor(bool output) {
    static const std::vector<std::uint32_t> kSmall{1, 2, 4, 4, 4, 8, 32}, kRoomy{4, 8, 64, 1024};
    static const std::vector<std::size_t> kRanks{0, 1, 2, 2, 3, 4, 4, 5, 8};
    std::vector<std::uint32_t> dims(random_.pick(kRanks));
    for (std::uint32_t& extent : dims) {
      extent =
          random_.below(12) == 0 ? random_.pick(kExtents) : random_.pick(output ? kRoomy : kSmall);
    }
    const auto dtype =
        static_cast<vkgraph::VkDataType>(random_.below(3) == 0 ? random_.below(8) : 5);
    if (output) return builder_.tensor(dims, dtype);
    if (random_.below(2) == 0) return builder_.input(builder_.tensor(dims, dtype));
    const int id = builder_.constant(cat("key", builder_.graph.values.size()), dims, dtype);
    builder_.graph.constants.back()->length *= 8;  // enough for any dtype
    return id;
  }

  testing::BlobBuilder builder_;
  Random random_;
};

TEST_F(FormatMutation, EveryOperatorWithWildArguments) {
  for (const Op* op : all_ops()) {
    for (std::uint64_t seed = 0; seed < kWildCalls && !HasFailure(); ++seed) {
      const auto start = std::chrono::steady_clock::now();
      check_blob(testing::delegate_blob(WildCall(seed).graph(*op)));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      EXPECT_LT(took.count(), 5.0);
      if (HasFailure())
        std::printf("first failure: %s, seed %zu\n", op->name.data(),
                    static_cast<std::size_t>(seed));
    }
  }
  EXPECT_GT(tally_["accepted"], 100u);
}

TEST_F(FormatMutation, DamagedPrograms) {
  const ByteVector whole = testing::program_file(testing::add_blob().graph);
  damage(whole, 3000, 3, [&](auto b) { check_program(b); });
  damage(testing::program_file(testing::decoder_blob().graph), 500, 4,
         [&](auto b) { check_program(b); });
  damage(testing::stepped_file(), 3000, 5, [&](auto b) { check_program(b); });
}

TEST_F(FormatMutation, DamagedTensorFiles) {
  const testing::NamedBytes named{{"weight", ByteVector(256, std::byte{1})},
                                  {"bias", ByteVector(16, std::byte{2})}};
  damage(testing::tensor_file(named), 2000, 5, [&](auto b) { check_tensor_file(b); });
}

}  // namespace
}  // namespace etwebgpu
