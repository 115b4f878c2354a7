// The C++ library reports broken invariants on stderr before it aborts. Nobody reads one here, and
// the module would import file functions for it: a broken invariant is a trap.
#include <string>  // for _LIBCPP_BEGIN_NAMESPACE_STD

_LIBCPP_BEGIN_NAMESPACE_STD
void __libcpp_verbose_abort(const char*, ...) { __builtin_trap(); }
_LIBCPP_END_NAMESPACE_STD

extern "C" void abort_message(const char*, ...) { __builtin_trap(); }
