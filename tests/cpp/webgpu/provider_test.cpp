// Providers: missing libraries and functions, handing over, choosing adapters, and what `devices`
// says.
#include "webgpu/provider.h"

#include "support.h"

namespace etwebgpu {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// webgpu.h functions that do as a machine without adapters would.
WGPUInstance create_instance(const WGPUInstanceDescriptor*) {
  static int instance;
  return reinterpret_cast<WGPUInstance>(&instance);
}
WGPUFuture refuse_adapter(WGPUInstance, const WGPURequestAdapterOptions*,
                          WGPURequestAdapterCallbackInfo callback) {
  callback.callback(WGPURequestAdapterStatus_Unavailable, nullptr, string_view("no GPU here"),
                    callback.userdata1, callback.userdata2);
  return {1};
}
void never_called() { ADD_FAILURE() << "a provider without adapters was used"; }

// All names, most of them bound to never_called; `missing` is left out.
void register_empty_provider(const char* name, std::string_view missing = "") {
  std::vector<const char*> names;
  std::vector<void*> addresses;
#define ETWG_ADD(function)                                         \
  if (missing != #function) {                                      \
    names.push_back("wgpu" #function);                             \
    addresses.push_back(reinterpret_cast<void*>(never_called));    \
    if (std::string_view(#function) == "CreateInstance")           \
      addresses.back() = reinterpret_cast<void*>(create_instance); \
    if (std::string_view(#function) == "InstanceRequestAdapter")   \
      addresses.back() = reinterpret_cast<void*>(refuse_adapter);  \
  }
  ETWG_WEBGPU_FUNCTIONS(ETWG_ADD)
#undef ETWG_ADD
  ASSERT_OK(register_provider(name, names, addresses));
}

TEST(Provider, MissingLibraryIsNamed) {
  const auto selected = select_adapter({"/nonexistent/libwebgpu.so", ""});
  ASSERT_FALSE(selected);
  EXPECT_EQ(selected.error().kind, ErrorKind::DeviceLost);
  EXPECT_TRUE(contains(selected.error().message, "/nonexistent/libwebgpu.so"))
      << selected.error().message;
}

TEST(Provider, LibraryWithoutWebGpuNamesTheFunction) {
  const auto selected = select_adapter({"libm.so.6", ""});
  ASSERT_FALSE(selected);
  EXPECT_TRUE(contains(selected.error().message, "wgpuCreateInstance")) << selected.error().message;
}

TEST(Provider, UnknownNameIsAnError) {
  const auto selected = select_adapter({"nosuchprovider", ""});
  ASSERT_FALSE(selected);
  EXPECT_EQ(selected.error().kind, ErrorKind::InvalidArgument);
  EXPECT_TRUE(contains(selected.error().message, "nosuchprovider"));
}

TEST(Provider, IncompleteTableNamesTheFunction) {
  register_empty_provider("incomplete", "QueueSubmit");
  const auto selected = select_adapter({"incomplete", ""});
  ASSERT_FALSE(selected);
  EXPECT_TRUE(contains(selected.error().message, "wgpuQueueSubmit")) << selected.error().message;
}

TEST(Provider, TableSizesMustAgree) {
  const char* names[] = {"wgpuCreateInstance"};
  EXPECT_FALSE(register_provider("uneven", names, {}));
  EXPECT_FALSE(register_provider_library("", "x"));
}

TEST(Provider, NoAdapterIsOneClearSentence) {
  register_empty_provider("empty");
  const auto selected = select_adapter({"empty", ""});
  ASSERT_FALSE(selected);
  EXPECT_EQ(selected.error().kind, ErrorKind::DeviceLost);
  for (const char* part : {"empty: no adapter", "install"})
    EXPECT_TRUE(contains(selected.error().message, part)) << selected.error().message;
}

TEST(Provider, HandsOverToTheNext) {
  register_empty_provider("empty");
  ASSERT_TRUE(select_adapter(test_choice()));  // registers the test library behind it
  const auto selected = select_adapter({});
  ASSERT_OK(selected);
  EXPECT_NE(selected->provider->name(), "empty");
  const std::string json = devices_json({});
  for (const char* part :
       {"\"name\":\"empty\"", "no adapter", "\"status\":\"ok\"", "maxBufferSize", "\"selected\":{"})
    EXPECT_TRUE(contains(json, part)) << json;
}

TEST(Provider, ChoosesByIndexClassAndName) {
  const auto best = select_adapter(test_choice());
  ASSERT_OK(best);
  const AdapterDescription& adapter = best->adapter;
  const std::string provider = test_library();
  for (const std::string& choice :
       {std::to_string(adapter.index), std::string(name(adapter.adapter_class)),
        adapter.name.substr(1, 6)}) {
    const auto selected = select_adapter({provider, choice});
    ASSERT_OK(selected);
    EXPECT_EQ(selected->adapter.name, adapter.name) << choice;
  }
  const auto none = select_adapter({provider, "a GPU nobody makes"});
  ASSERT_FALSE(none);
  for (const std::string& part : {std::string("a GPU nobody makes"), adapter.name})
    EXPECT_TRUE(contains(none.error().message, part)) << none.error().message;
}

}  // namespace
}  // namespace etwebgpu
