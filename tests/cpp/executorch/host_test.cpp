// A C++ host of the backend: registration, options from each source and their order, load modes,
// errors and profiling. ETWEBGPU_TEST_PROGRAMS is a folder with weighted.pte (a * [1, 2, 4] + b,
// both [2, 3]), external.pte, the same with its weights in external.ptd, and split.pte, the same
// with two weights in the files of the folder split.data.
#include <etwebgpu/c_api.h>
#include <executorch/devtools/etdump/etdump_flatcc.h>
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/runtime/backend/backend_options_map.h>
#include <executorch/runtime/backend/interface.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace et = executorch::runtime;
using executorch::extension::Module;

constexpr const char* kBackend = "VulkanBackend";
constexpr const char* kNowhere = "/nowhere/libwebgpu.so";

std::string program(const std::string& name) {
  const char* folder = std::getenv("ETWEBGPU_TEST_PROGRAMS");
  return std::string(folder == nullptr ? "." : folder) + "/" + name;
}

std::vector<float> run(Module& module) {
  const auto a = executorch::extension::full({2, 3}, 3.0);
  const auto b = executorch::extension::full({2, 3}, 0.5);
  const auto outputs = module.forward({a, b});
  if (!outputs.ok()) return {};
  const auto& out = outputs->at(0).toTensor();
  return {out.const_data_ptr<float>(), out.const_data_ptr<float>() + out.numel()};
}

const std::vector<float> kExpected = {3.5, 6.5, 12.5, 3.5, 6.5, 12.5};

std::string last_error() { return etwg_last_error(); }

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    etwg_clear_error();
    etwg_set_option("provider", WGPU_NATIVE);
  }
  void TearDown() override {
    for (const char* key : {"provider", "profiling", "memory_limit", "data_files"}) {
      etwg_set_option(key, "");
    }
    unsetenv("ETWEBGPU_PROVIDER");
  }
};

TEST_F(HostTest, LinkingRegistersOnce) {
  et::BackendInterface* backend = et::get_backend_class(kBackend);
  ASSERT_NE(backend, nullptr);
  EXPECT_NE(et::register_backend({kBackend, backend}), et::Error::Ok);
}

TEST_F(HostTest, RunsInEveryLoadMode) {
  for (const auto mode : {Module::LoadMode::File, Module::LoadMode::Mmap,
                          Module::LoadMode::MmapUseMlockIgnoreErrors}) {
    Module module(program("weighted.pte"), mode);
    EXPECT_EQ(run(module), kExpected) << last_error();
  }
}

TEST_F(HostTest, ReadsExternalWeights) {
  Module module(program("external.pte"), program("external.ptd"));
  EXPECT_EQ(run(module), kExpected) << last_error();
}

TEST_F(HostTest, SaysThatExternalWeightsAreMissing) {
  Module module(program("external.pte"));
  EXPECT_NE(module.load_forward(), et::Error::Ok);
  EXPECT_TRUE(mentions(last_error(), "in a .ptd file; data files read: none;")) << last_error();
  Module good(program("external.pte"), program("external.ptd"));
  EXPECT_EQ(run(good), kExpected) << last_error();
}

std::vector<std::string> split_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(program("split.data"))) {
    files.push_back(entry.path().string());
  }
  return files;
}

TEST_F(HostTest, ModuleTakesSeveralDataFiles) {
  ASSERT_EQ(split_files().size(), 2u);
  for (const auto mode : {Module::LoadMode::File, Module::LoadMode::Mmap}) {
    Module module(program("split.pte"), split_files(), mode);
    EXPECT_EQ(run(module), kExpected) << last_error();
  }
  Module lacking(program("split.pte"), std::vector<std::string>{split_files()[1]});
  EXPECT_NE(lacking.load_forward(), et::Error::Ok);
  EXPECT_TRUE(mentions(last_error(), "may be split over several .ptd files")) << last_error();
}

TEST_F(HostTest, DataFilesByOption) {
  etwg_set_option("data_files", program("split.data").c_str());
  Module all(program("split.pte"));
  EXPECT_EQ(run(all), kExpected) << last_error();

  // Beside a file that ExecuTorch reads.
  etwg_set_option("data_files", split_files()[1].c_str());
  Module half(program("split.pte"), split_files()[0]);
  EXPECT_EQ(run(half), kExpected) << last_error();

  etwg_set_option("data_files", (split_files()[0] + ":" + split_files()[1]).c_str());
  Module both(program("split.pte"));
  EXPECT_EQ(run(both), kExpected) << last_error();

  // For this thread only, and before the other.
  etwg_set_option("data_files", "/nowhere.ptd");
  etwg_set_thread_option("data_files", program("split.data").c_str());
  Module own(program("split.pte"));
  EXPECT_EQ(run(own), kExpected) << last_error();
  std::thread([] {
    Module other(program("split.pte"));
    EXPECT_NE(other.load_forward(), et::Error::Ok);
    EXPECT_TRUE(mentions(last_error(), "/nowhere.ptd")) << last_error();
  }).join();
  etwg_set_thread_option("data_files", "");
}

TEST_F(HostTest, SetOptionAndGetOption) {
  et::BackendOptions<3> options;
  ASSERT_EQ(options.set_option("provider", kNowhere), et::Error::Ok);
  ASSERT_EQ(options.set_option("profiling", true), et::Error::Ok);
  ASSERT_EQ(options.set_option("memory_limit", 1 << 20), et::Error::Ok);
  ASSERT_EQ(et::set_option(kBackend, options.view()), et::Error::Ok);

  et::BackendOptions<3> read;
  ASSERT_EQ(read.set_option("provider", ""), et::Error::Ok);
  ASSERT_EQ(read.set_option("profiling", false), et::Error::Ok);
  ASSERT_EQ(read.set_option("memory_limit", ""), et::Error::Ok);
  ASSERT_EQ(et::get_option(kBackend, read.view()), et::Error::Ok) << last_error();
  const char* provider = nullptr;
  const char* limit = nullptr;
  bool profiling = false;
  EXPECT_EQ(read.get_option("provider", provider), et::Error::Ok);
  EXPECT_EQ(read.get_option("profiling", profiling), et::Error::Ok);
  EXPECT_EQ(read.get_option("memory_limit", limit), et::Error::Ok);
  EXPECT_STREQ(provider, kNowhere);
  EXPECT_TRUE(profiling);
  EXPECT_STREQ(limit, "1048576");

  Module module(program("weighted.pte"));
  EXPECT_NE(module.load_forward(), et::Error::Ok);
  EXPECT_TRUE(mentions(last_error(), kNowhere)) << last_error();
}

TEST_F(HostTest, UnknownOptionsAreRefused) {
  et::BackendOptions<1> options;
  ASSERT_EQ(options.set_option("colour", "red"), et::Error::Ok);
  EXPECT_EQ(et::set_option(kBackend, options.view()), et::Error::InvalidArgument);
  EXPECT_TRUE(mentions(last_error(), "unknown option 'colour'")) << last_error();
}

// Loads with these runtime specs and gives the error's text, "" for none.
std::string load_with(et::BackendOptions<2>& specs, const std::string& name = "weighted.pte") {
  et::LoadBackendOptionsMap map;
  EXPECT_EQ(map.set_options(kBackend, specs.view()), et::Error::Ok);
  Module module(program(name));
  EXPECT_EQ(module.load(map), et::Error::Ok);
  if (module.load_forward() != et::Error::Ok) return last_error();
  EXPECT_EQ(run(module), kExpected);
  return "";
}

TEST_F(HostTest, RuntimeSpecsComeFirstThenSetOptionThenTheEnvironment) {
  setenv("ETWEBGPU_PROVIDER", kNowhere, 1);
  Module by_option(program("weighted.pte"));
  EXPECT_EQ(run(by_option), kExpected) << last_error();

  etwg_set_option("provider", kNowhere);
  et::BackendOptions<2> specs;
  ASSERT_EQ(specs.set_option("provider", WGPU_NATIVE), et::Error::Ok);
  EXPECT_EQ(load_with(specs), "");

  etwg_set_option("provider", "");
  Module by_environment(program("weighted.pte"));
  EXPECT_NE(by_environment.load_forward(), et::Error::Ok);
  EXPECT_TRUE(mentions(last_error(), kNowhere)) << last_error();
}

TEST_F(HostTest, WrongRuntimeSpecsAreNamed) {
  et::BackendOptions<2> specs;
  ASSERT_EQ(specs.set_option("kv_cache_dtype", 8), et::Error::Ok);
  EXPECT_TRUE(mentions(load_with(specs), "kv_cache_dtype: expected f32 or f16, got '8'"));
  et::BackendOptions<2> limit;
  ASSERT_EQ(limit.set_option("memory_limit", 4), et::Error::Ok);
  EXPECT_TRUE(mentions(load_with(limit), "4")) << last_error();
}

TEST_F(HostTest, DataFilesBySetOptionAndRuntimeSpecs) {
  const std::string folder = program("split.data");
  ASSERT_LT(folder.size(), 254u);
  et::BackendOptions<2> specs;
  ASSERT_EQ(specs.set_option("data_files", folder.c_str()), et::Error::Ok);
  EXPECT_EQ(load_with(specs, "split.pte"), "");

  ASSERT_EQ(et::set_option(kBackend, specs.view()), et::Error::Ok) << last_error();
  Module module(program("split.pte"));
  EXPECT_EQ(run(module), kExpected) << last_error();
}

TEST_F(HostTest, TextsThatExecuTorchCutsAreRefused) {
  const std::string longer = program("split.data") + std::string(300, '/');
  et::BackendOptions<2> specs;
  ASSERT_EQ(specs.set_option("data_files", longer.c_str()), et::Error::Ok);
  EXPECT_TRUE(mentions(load_with(specs, "split.pte"), "option data_files: ")) << last_error();
  EXPECT_TRUE(mentions(last_error(), "may have been cut")) << last_error();
  EXPECT_EQ(et::set_option(kBackend, specs.view()), et::Error::InvalidArgument);
  EXPECT_TRUE(mentions(last_error(), "etwg_set_option")) << last_error();
  // There is no limit to what it names instead.
  ASSERT_EQ(etwg_set_option("data_files", longer.c_str()), 0) << last_error();
  Module module(program("split.pte"));
  EXPECT_EQ(run(module), kExpected) << last_error();
}

TEST_F(HostTest, ProfilesIntoETDump) {
  auto tracer = std::make_unique<executorch::etdump::ETDumpGen>();
  executorch::etdump::ETDumpGen* dump = tracer.get();
  Module module(program("weighted.pte"), Module::LoadMode::File, std::move(tracer));
  EXPECT_EQ(run(module), kExpected) << last_error();
  const auto result = dump->get_etdump_data();
  ASSERT_NE(result.buf, nullptr);
  const std::string bytes(static_cast<const char*>(result.buf), result.size);
  EXPECT_TRUE(mentions(bytes, "aten.mul.Tensor") || mentions(bytes, "webgpu execute"));
  free(result.buf);
}

TEST_F(HostTest, ThreadsLoadAndRunAtOnce) {
  std::array<bool, 4> good = {};
  std::vector<std::thread> threads;
  for (bool& ok : good) {
    threads.emplace_back([&ok] {
      Module module(program("weighted.pte"));
      ok = true;
      for (int i = 0; i < 20; ++i) ok = ok && run(module) == kExpected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const bool ok : good) EXPECT_TRUE(ok);
}

}  // namespace
