// Which kernels linear layers and embeddings choose for which device and sizes, and how they split.
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>

#include "support/compile.h"
#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

struct Layer {
  std::int64_t rows = 128, depth = 576, columns = 576, group = 32;
  Dims weight{576, 288}, scales{18, 576};
};

// et_vk.linear_q4gsw of an input [rows, depth]; rows may be fewer at run time.
Graph q4_linear(const Layer& layer) {
  GraphBuilder b;
  const ValueId x = b.input({layer.rows, layer.depth});
  b.output(b.call("et_vk.linear_q4gsw.default",
                  {x, b.constant(layer.weight, DType::UInt8), b.constant(layer.scales),
                   b.number(layer.group), b.none()},
                  {layer.rows, layer.columns}));
  return std::move(b.graph);
}

class Compiled {
 public:
  Compiled(const Layer& layer, const Capabilities& capabilities, const ModelOptions& options = {})
      : depth_(layer.depth) {
    auto model = Model::create(q4_linear(layer), capabilities, options);
    if (model) {
      model_ = *std::move(model);
    } else {
      error = model.error().message;
    }
  }

  const Plan& at(std::int64_t rows) {
    const HostInput input = host_input({rows, depth_});
    return *plan_at(*model_, {&input, 1});
  }
  const KernelVariant& kernel(const Plan& plan, std::size_t dispatch = 0) const {
    return testing::kernel(*model_, plan, dispatch);
  }
  std::string parameter(const Plan& plan, std::string_view name, std::size_t dispatch = 0) const {
    return testing::parameter(kernel(plan, dispatch), name);
  }
  Names kernels(const Plan& plan) const { return kernel_names(*model_, plan); }
  std::size_t constants() const { return model_->constants().size(); }

  std::string error;

 private:
  std::int64_t depth_;
  std::unique_ptr<Model> model_;
};

Capabilities software(bool subgroups, std::uint32_t least = 4) {
  Capabilities out;
  out.adapter_class = AdapterClass::Software;
  out.subgroups = subgroups;
  out.min_subgroup_size = least;
  return out;
}

TEST(Linear, RouteFollowsLiveRowsOverOneWeight) {
  Compiled model({}, {});
  ASSERT_EQ(model.error, "");
  for (const std::int64_t rows : {128, 1, 5, 1, 17}) {
    EXPECT_EQ(model.kernel(model.at(rows)).name, rows == 1 ? "gemv" : "gemm_slices");
  }
  EXPECT_EQ(model.constants(), 2u);
  EXPECT_TRUE(model.at(0).dispatches.empty());
}

// 96 tiles of 32 x 64 leave a GPU idle while each goes along K.
TEST(Linear, FewTilesAreSplitAlongK) {
  Compiled layer({.rows = 512}, {});
  EXPECT_EQ(layer.kernel(layer.at(320)).name, "gemm_slices");  // 9 panels, 10 times 32 rows
  EXPECT_EQ(layer.kernel(layer.at(321)).name, "gemm_tiles");
}

// Sums of every slice lie in workgroup memory: fewer slices where that is small, or subgroups are.
TEST(Linear, SlicesFitWorkgroupMemory) {
  for (const std::uint32_t subgroup : {0u, 4u, 8u, 16u, 32u, 64u}) {
    for (const std::uint32_t storage : {16u << 10, 48u << 10}) {
      Capabilities caps;
      caps.subgroups = subgroup > 0;
      caps.min_subgroup_size = caps.max_subgroup_size = std::max(subgroup, 1u);
      caps.max_workgroup_storage = storage;
      caps.max_workgroup_invocations = caps.max_workgroup_size[0] = 1024;
      Compiled layer({}, caps);
      ASSERT_EQ(layer.error, "");
      const Plan& plan = layer.at(17);
      ASSERT_EQ(layer.kernel(plan).name, "gemm_slices");
      const auto number = [&](std::string_view name) {
        return std::stoul(layer.parameter(plan, name));
      };
      EXPECT_LE(number("SUMS") * number("ROWS") * number("LANES") * 20, storage) << subgroup;
      EXPECT_GE(number("WG"), number("ROWS") * number("LANES")) << subgroup;
    }
  }
}

// Rows that are staged for every slice lie there, and then the sums of some rows.
TEST(Linear, FewRowsFitWorkgroupMemory) {
  for (const std::uint32_t subgroup : {0u, 4u, 16u, 32u, 128u}) {
    for (const std::uint32_t storage : {16u << 10, 48u << 10}) {
      Capabilities caps;
      caps.subgroups = subgroup > 0;
      caps.min_subgroup_size = caps.max_subgroup_size = std::max(subgroup, 1u);
      caps.max_workgroup_storage = storage;
      caps.few_rows_from = 576 * 576;
      Compiled layer({}, caps);
      for (const std::int64_t rows : {2, 3, 4, 5, 8}) {
        const Plan& plan = layer.at(rows);
        ASSERT_EQ(layer.kernel(plan).name, "gemm_few_rows");
        const auto number = [&](std::string_view name) {
          return std::stoul(layer.parameter(plan, name));
        };
        const auto staged =
            number("UNITS") * number("UNIT") * number("HALVES") * number("SLICES") * number("ROWS");
        const auto sums = number("SLICES") * number("MATS") * number("ROUND") * number("LANES");
        EXPECT_LE(16 * std::max(staged, sums) + 4 * number("WG"), storage) << subgroup;
        EXPECT_GE(number("WG"), number("ROUND") * number("LANES")) << subgroup;
        EXPECT_EQ(number("ROWS"), rows == 2 ? 2u : rows <= 4 ? 4u : 8u);
        EXPECT_GE(number("X_TASKS") * number("WG"), staged);
        EXPECT_EQ(72 % number("UNIT"), 0u);  // steps of 576 elements
      }
      EXPECT_EQ(layer.kernel(layer.at(9)).name, "gemm_slices");
      ++caps.few_rows_from;
      Compiled below({}, caps);
      EXPECT_EQ(below.kernel(below.at(2)).name, "gemm_slices");
    }
  }
}

Capabilities with_byte_products(std::uint64_t from) {
  Capabilities out;
  out.subgroups = true;
  out.min_subgroup_size = out.max_subgroup_size = 32;
  out.max_workgroup_storage = 48 << 10;
  out.max_workgroup_invocations = out.max_workgroup_size[0] = 1024;
  out.byte_products_from = from;
  return out;
}

TEST(Linear, LargeLayersForOneRowMultiplyBytes) {
  constexpr std::uint64_t kWeights = 576 * 576;
  Compiled at({}, with_byte_products(kWeights)), above({}, with_byte_products(kWeights + 1));
  EXPECT_EQ(at.kernel(at.at(1)).name, "gemv_bytes");
  EXPECT_EQ(at.kernel(at.at(2)).name, "gemm_slices");
  EXPECT_EQ(above.kernel(above.at(1)).name, "gemv");
}

TEST(Linear, BytesNeedBlocksOf32SubgroupsAndMemory) {
  const Layer groups_of_16{.group = 16, .scales = {36, 576}};
  Capabilities single = with_byte_products(1), small = single;
  single.subgroups = false;
  small.max_workgroup_storage = 1800;  // x alone
  for (const auto& [layer, caps] : {std::pair{groups_of_16, with_byte_products(1)},
                                    std::pair{Layer{}, single}, std::pair{Layer{}, small}}) {
    Compiled model(layer, caps);
    ASSERT_EQ(model.error, "");
    EXPECT_EQ(model.kernel(model.at(1)).name, "gemv");
  }
}

TEST(Linear, BytesOfAnOutputLayerTakeWideBlocks) {
  const Layer output{.rows = 1, .columns = 64128, .weight = {64128, 288}, .scales = {18, 64128}};
  Compiled model(output, with_byte_products(1));
  const Plan& plan = model.at(1);
  EXPECT_EQ(model.parameter(plan, "LANES"), "32");
  EXPECT_EQ(plan.dispatches[0].grid.x, 501u);  // of 1,002 panels
  EXPECT_EQ(model.parameter(plan, "LOOP"), "1");
}

TEST(Linear, SoftwareAdaptersTakeColumns) {
  for (const auto& [caps, lanes, rows] :
       {std::tuple{software(false), "0", "4"}, std::tuple{software(true), "4", "8"},
        std::tuple{software(true, 8), "8", "8"}}) {
    Compiled model({}, caps);
    const Plan& many = model.at(128);
    EXPECT_EQ(model.kernel(many).name, "gemm_lanes");
    EXPECT_EQ(model.parameter(many, "LANES"), lanes);
    EXPECT_EQ(model.parameter(many, "SHUFFLE"), std::string_view(lanes) == "8" ? "1" : "0");
    EXPECT_EQ(model.parameter(many, "ROWS"), rows);
    EXPECT_EQ(model.parameter(model.at(3), "ROWS"), "4");
    EXPECT_EQ(model.kernel(model.at(1)).name, "gemv_lanes");
  }
}

TEST(Linear, SoftwareAdaptersDivideFewColumnsFinely) {
  Compiled few({}, software(true, 8));  // 9 panels
  EXPECT_EQ(few.parameter(few.at(1), "COLUMN_QUADS"), "8");
  EXPECT_EQ(few.parameter(few.at(1), "SETS"), "1");
  EXPECT_EQ(few.at(1).dispatches[0].grid.x, 18u);
  EXPECT_EQ(few.parameter(few.at(128), "COLUMN_QUADS"), "16");  // 16 row blocks
  EXPECT_EQ(few.parameter(few.at(128), "SETS"), "2");
}

TEST(Linear, ARowOfASoftwareAdapterFetchesAWholeGroupIfLanesSuffice) {
  Compiled groups({}, software(true, 8));  // of 32 elements
  EXPECT_EQ(groups.parameter(groups.at(1), "WHOLE"), "1");
  Compiled wide({.group = 64, .scales = {9, 576}}, software(true, 8));
  EXPECT_EQ(wide.parameter(wide.at(1), "WHOLE"), "0");
  Compiled narrow({}, software(true, 4));
  EXPECT_EQ(narrow.parameter(narrow.at(1), "WHOLE"), "0");
}

TEST(Linear, TilesFitTheDevice) {
  const Layer wide{.rows = 4096, .columns = 8192, .weight = {8192, 288}, .scales = {18, 8192}};
  Compiled portable(wide, {});
  EXPECT_EQ(portable.parameter(portable.at(4096), "TILE"), "64");  // 16 KiB of workgroup memory
  Capabilities large;
  large.max_workgroup_storage = 48 << 10;
  Compiled model(wide, large);
  EXPECT_EQ(model.parameter(model.at(4096), "TILE"), "128");
  EXPECT_EQ(model.parameter(model.at(16), "TILE"), "16");
  Capabilities small;
  small.max_workgroup_invocations = 32;
  Compiled narrow(wide, small);
  EXPECT_EQ(narrow.parameter(narrow.at(4096), "WG"), "32");
}

TEST(Linear, OddGroupsTakeTheGeneralKernel) {
  Compiled model({.depth = 36, .columns = 8, .group = 12, .weight = {8, 20}, .scales = {3, 8}}, {});
  ASSERT_EQ(model.error, "");
  EXPECT_EQ(model.kernel(model.at(1)).name, "gemm_any");
}

TEST(Linear, SplitsWhatDoesNotFitABinding) {
  Capabilities caps;
  caps.max_storage_binding = 1 << 20;  // 1 MiB: 56 panels of 18 KiB, 455 rows of x
  const Layer layer{.rows = 900, .columns = 4096, .weight = {4096, 288}, .scales = {18, 4096}};
  Compiled model(layer, caps);
  ASSERT_EQ(model.error, "");
  const Plan& one = model.at(1);
  ASSERT_EQ(one.dispatches.size(), 2u);
  std::uint64_t weight_bytes = 0;
  for (std::size_t d = 0; d < one.dispatches.size(); ++d) {
    for (const PlannedBinding& binding : bindings(one, d)) {
      if (binding.space == Space::Uniforms) continue;
      EXPECT_LE(binding.size, caps.max_storage_binding);
      EXPECT_EQ(binding.offset % caps.storage_alignment, 0u);
    }
    weight_bytes += bindings(one, d)[1].size;
  }
  EXPECT_EQ(weight_bytes, 64u * 72 * kPanelRowBytes);
  EXPECT_EQ(model.at(900).dispatches.size(), 2u * 15);  // 64 rows at a time: 16 KiB of output each
}

TEST(Linear, NamesWhatDoesNotFit) {
  EXPECT_EQ(Compiled({.group = 33}, {}).error,
            "call 0 et_vk.linear_q4gsw.default: the group size 33 does not divide the 576 elements "
            "of x's "
            "rows");
  EXPECT_EQ(
      Compiled({.group = 0}, {}).error,
      "call 0 et_vk.linear_q4gsw.default: the group size 0 does not divide the 576 elements of x's "
      "rows");
  EXPECT_EQ(
      Compiled({.weight = {576, 100}}, {}).error,
      "call 0 et_vk.linear_q4gsw.default: weight of sizes [576, 100] does not hold 576 rows of 576 "
      "nibbles");
  EXPECT_EQ(
      Compiled({.scales = {18, 100}}, {}).error,
      "call 0 et_vk.linear_q4gsw.default: scales of sizes [18, 100] do not hold 18 groups of 576");
  Capabilities tiny;
  tiny.max_storage_binding = 4096;
  EXPECT_NE(
      Compiled({}, tiny).error.find("does not fit this device's storage binding of 4096 bytes"),
      std::string::npos);
}

Capabilities with_matrices(std::uint32_t size, std::uint32_t subgroup) {
  Capabilities out;
  out.subgroups = out.f16 = true;
  out.matrix_size = size;
  out.matrix_products_from = 1;
  out.max_workgroup_storage = 32768;
  out.min_subgroup_size = out.max_subgroup_size = subgroup;
  return out;
}

TEST(Linear, MatrixUnitsServeManyRows) {
  constexpr ModelOptions kHalf{.matmul = FloatType::F16};
  Compiled halves({}, with_matrices(16, 32), kHalf), floats({}, with_matrices(16, 32));
  for (const std::int64_t rows : {128, 5}) {
    EXPECT_EQ(halves.kernels(halves.at(rows)),
              (Names{"gemm_half_rows", "gemm_matrices", "gemm_join"}));
    EXPECT_EQ(floats.kernels(floats.at(rows)),
              (Names{"gemm_split_rows", "gemm_matrices", "gemm_join"}));
  }
  EXPECT_EQ(halves.kernel(halves.at(4)).name, "gemm_slices");
  EXPECT_EQ(halves.kernel(halves.at(1)).name, "gemv");

  Capabilities choosy = with_matrices(16, 32);
  const Layer layer;
  choosy.matrix_products_from = static_cast<std::uint64_t>(100 * layer.depth * layer.columns);
  Compiled halves_from_50({}, choosy, kHalf), floats_from_100({}, choosy);
  EXPECT_EQ(halves_from_50.kernel(halves_from_50.at(50)).name, "gemm_half_rows");
  EXPECT_EQ(halves_from_50.kernel(halves_from_50.at(49)).name, "gemm_slices");
  EXPECT_EQ(floats_from_100.kernel(floats_from_100.at(100)).name, "gemm_split_rows");
  EXPECT_EQ(floats_from_100.kernel(floats_from_100.at(99)).name, "gemm_slices");
}

TEST(Linear, MatrixUnitsAddUpNoMoreInF32ThanTheyDoExactly) {
  const Layer deep{
      .rows = 2048, .depth = 8192, .columns = 8192, .weight = {8192, 4096}, .scales = {256, 8192}};
  Compiled floats(deep, with_matrices(16, 32));
  EXPECT_EQ(floats.parameter(floats.at(2048), "SPLITS", 1), "8");
}

// Small bindings take 21 rows of x beside a tile's, but rows come by 64.
TEST(Linear, MatrixUnitsAreLeftAloneWhereABindingTakesTooFewRows) {
  const Layer narrow{.rows = 300, .depth = 192, .columns = 1, .weight = {1, 96}, .scales = {6, 1}};
  Capabilities pieces = with_matrices(8, 8);
  pieces.max_storage_binding = 64 << 10;
  Compiled floats(narrow, pieces);
  ASSERT_EQ(floats.error, "");
  EXPECT_EQ(floats.kernel(floats.at(300)).name, "gemm_slices");
}

TEST(Linear, MatrixUnitsThatKernelsDoNotKnowAreLeftAlone) {
  constexpr ModelOptions kHalf{.matmul = FloatType::F16};
  Capabilities varying = with_matrices(16, 32);
  varying.min_subgroup_size = 16;  // which of them a pipeline gets is not known
  for (const Capabilities& without : {with_matrices(0, 32), with_matrices(16, 64), varying}) {
    Compiled compiled({}, without, kHalf);
    EXPECT_EQ(compiled.kernel(compiled.at(128)).name, "gemm_slices");
  }
}

TEST(Linear, MatrixTilesKeepAGpuBusy) {
  constexpr ModelOptions kHalf{.matmul = FloatType::F16};
  const Capabilities capabilities = with_matrices(16, 32);
  const Layer wide{
      .rows = 2048, .depth = 64, .columns = 8192, .weight = {8192, 32}, .scales = {2, 8192}};
  const Layer deep{
      .rows = 512, .depth = 8192, .columns = 2048, .weight = {2048, 4096}, .scales = {256, 2048}};
  struct Expected {
    const Layer& layer;
    std::int64_t rows;
    const char *tile, *splits;
    std::uint32_t workgroups;
  };
  for (const Expected& expected :
       {Expected{wide, 2048, "128", "1", 64 * 8}, Expected{wide, 33, "64", "1", 64},
        Expected{wide, 20, "32", "1", 64}, Expected{deep, 512, "128", "4", 16 * 4 * 4},
        Expected{deep, 128, "64", "8", 16 * 2 * 8}}) {
    Compiled compiled(expected.layer, capabilities, kHalf);
    const Plan& plan = compiled.at(expected.rows);
    SCOPED_TRACE(expected.rows);
    EXPECT_EQ(compiled.parameter(plan, "TILE", 1), expected.tile);
    EXPECT_EQ(compiled.parameter(plan, "SPLITS", 1), expected.splits);
    EXPECT_EQ(compiled.parameter(plan, "SPLITS", 2), expected.splits);
    EXPECT_EQ(plan.dispatches[1].grid.x, expected.workgroups);
  }
}

TEST(Linear, SumsTooWideForABindingAreNotOfMatrices) {
  Capabilities capabilities = with_matrices(16, 32);
  const Layer layer{
      .rows = 128, .depth = 64, .columns = 2048, .weight = {2048, 32}, .scales = {2, 2048}};
  capabilities.max_storage_binding = 1 << 20;  // 128 rows
  Compiled compiled(layer, capabilities, {.matmul = FloatType::F16});
  EXPECT_EQ(compiled.kernel(compiled.at(128)).name, "gemm_tiles");
}

TEST(Linear, SumsOfMatricesFitTheBinding) {
  Capabilities capabilities = with_matrices(16, 32);
  capabilities.max_storage_binding = 1 << 20;  // 512 rows of 512 columns, less those of a tile
  const Layer layer{
      .rows = 1000, .depth = 64, .columns = 512, .weight = {512, 32}, .scales = {2, 512}};
  Compiled compiled(layer, capabilities, {.matmul = FloatType::F16});
  EXPECT_EQ(compiled.at(300).dispatches.size(), 3u);
  EXPECT_EQ(compiled.at(1000).dispatches.size(), 9u);
  for (const PlannedBinding& binding : compiled.at(1000).bindings)
    EXPECT_LE(binding.size, capabilities.max_storage_binding);
}

TEST(Linear, SumsOfMatricesThatAreWiderThanTheResultFitTheBinding) {
  Capabilities capabilities = with_matrices(16, 32);
  capabilities.max_storage_binding = 1 << 20;
  const Layer layer{// 257 columns are three tiles of 128
                    .rows = 1000,
                    .depth = 64,
                    .columns = 257,
                    .weight = {257, 32},
                    .scales = {2, 257}};
  Compiled compiled(layer, capabilities, {.matmul = FloatType::F16});
  const Plan& plan = compiled.at(1000);
  EXPECT_EQ(plan.dispatches.size(), 6u);
  for (const PlannedBinding& binding : plan.bindings)
    EXPECT_LE(binding.size, capabilities.max_storage_binding);
}

TEST(Linear, SectionsShareTheMemoryOfLargeSums) {
  const Layer layer{
      .rows = 4096, .depth = 64, .columns = 4096, .weight = {4096, 32}, .scales = {2, 4096}};
  Compiled compiled(layer, with_matrices(16, 32), {.matmul = FloatType::F16});
  for (const auto& [rows, sections, section_rows] :
       {std::tuple{1024, 1u, 1024}, std::tuple{1100, 2u, 640}, std::tuple{4096, 2u, 2048}}) {
    const Plan& plan = compiled.at(rows);
    SCOPED_TRACE(rows);
    EXPECT_EQ(plan.dispatches.size(), 3 * sections);
    std::vector<std::uint64_t> wanted{16384ull * rows, 16384ull * section_rows};
    for (std::uint64_t slot : plan.slots) std::erase(wanted, slot);
    EXPECT_TRUE(wanted.empty());
    const std::uint64_t bytes = std::accumulate(plan.slots.begin(), plan.slots.end(), 0ull);
    EXPECT_LT(bytes, 16384ull * (rows + section_rows) + 512ull * rows);
  }
}

TEST(Linear, TheLastRowIsCopiedOnlyWhereABindingMayNotBeginThere) {
  constexpr std::int64_t kWidth = 96;  // 384 bytes, of which every second multiple is one of 256
  GraphBuilder b;
  b.output(b.linear(b.token(b.input({1, 8, kWidth}), -1), 64));
  const auto model = compile(std::move(b.graph));
  ASSERT_TRUE(model);
  const auto plan_of = [&](std::int64_t rows) {
    const HostInput input = host_input({1, rows, kWidth});
    return model->prepare({&input, 1});
  };
  EXPECT_EQ((**plan_of(3)).dispatches.size(), 1u);
  EXPECT_EQ((**plan_of(3)).bindings[0].offset, 768u);
  EXPECT_EQ((**plan_of(3)).bindings[0].size, 384u);
  EXPECT_EQ((**plan_of(2)).dispatches.size(), 2u);
  EXPECT_EQ((**plan_of(1)).dispatches.size(), 1u);
  EXPECT_FALSE(plan_of(0));
}

}  // namespace
}  // namespace etwebgpu::testing
