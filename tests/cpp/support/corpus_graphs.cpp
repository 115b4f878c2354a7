// The graphs of the kernel corpus.
#include "support/cached_attention.h"
#include "support/graph_builder.h"
#include "support/kernel_corpus.h"
#include "support/pointwise_convolution.h"

namespace etwebgpu::testing {
namespace {

using Values = std::vector<ValueId>;

class Graphs {
 public:
  std::vector<NamedGraph> made;

  // A graph of what `build` calls; its results are the outputs.
  template <typename Build>
  void add(std::string name, const Build& build) {
    GraphBuilder b;
    if constexpr (std::is_same_v<decltype(build(b)), ValueId>) {
      b.output(build(b));
    } else {
      for (const ValueId out : build(b)) b.output(out);
    }
    made.push_back({std::move(name), std::move(b.graph)});
  }
};

// --- Elementwise ---

void add_unary(Graphs& graphs) {
  // Whole vectors, and not.
  for (const Dims& sizes : {Dims{6, 8}, Dims{5, 3}}) {
    for (const char* name : {"abs", "exp", "relu", "sin", "sigmoid", "tanh", "silu", "gelu"}) {
      graphs.add(name, [&](GraphBuilder& b) {
        return b.call(cat("aten.", name, ".default"), {b.input(sizes)}, sizes);
      });
    }
    for (const DType dtype : {DType::Int32, DType::Int64}) {
      graphs.add("neg of integers", [&](GraphBuilder& b) {
        return b.call("aten.neg.default", {b.input(sizes, dtype)}, sizes, dtype);
      });
      graphs.add("conversions", [&](GraphBuilder& b) {
        const ValueId floats = b.call("aten._to_copy.default", {b.input(sizes, dtype)}, sizes);
        return b.call("aten._to_copy.default", {floats}, sizes, dtype);
      });
    }
  }
}

// Operands of each type: tensors that are read one element or four at a time, numbers, and SymInts.
void add_binary(Graphs& graphs) {
  const Dims sizes{6, 8}, row{8}, column{6, 1};
  for (const DType dtype : {DType::Float32, DType::Int32, DType::Int64}) {
    for (const char* name : {"aten.add.Tensor", "aten.maximum.default", "aten.pow.Tensor_Tensor"}) {
      for (const Dims& other : {sizes, row, column}) {
        graphs.add(name, [&](GraphBuilder& b) {
          return b.call(name, {b.input(sizes, dtype), b.input(other, dtype)}, sizes, dtype);
        });
      }
    }
    graphs.add("division", [&](GraphBuilder& b) {
      return b.call("aten.div.Tensor_mode",
                    {b.input(sizes, dtype), b.input(sizes, dtype), b.text("floor")}, sizes, dtype);
    });
    for (const bool first : {false, true}) {
      graphs.add("numbers", [&](GraphBuilder& b) {
        const ValueId x = b.input(sizes, dtype);
        const ValueId number = b.number(3), live = b.scalar_input();
        const auto both = [&](ValueId n) { return first ? Values{n, x} : Values{x, n}; };
        return Values{b.call("aten.mul.Tensor", both(number), sizes, dtype),
                      b.call("aten.mul.Tensor", both(live), sizes, dtype)};
      });
    }
  }
}

void add_where(Graphs& graphs) {
  const Dims sizes{6, 8};
  for (const DType dtype : {DType::Float32, DType::Int32, DType::Int64}) {
    graphs.add("where", [&](GraphBuilder& b) {
      const ValueId condition = b.input(sizes, DType::Bool), x = b.input(sizes, dtype);
      Values outs;
      for (const ValueId other :
           Values{b.input(sizes, dtype), b.input({6, 1}, dtype), b.number(3), b.scalar_input()})
        outs.push_back(b.call("aten.where.self", {condition, x, other}, sizes, dtype));
      return outs;
    });
    graphs.add("where of numbers", [&](GraphBuilder& b) {
      return b.call("aten.where.self", {b.input(sizes, DType::Bool), b.number(1), b.number(0)},
                    sizes, dtype);
    });
  }
}

// --- Movement ---

void add_movement(Graphs& graphs) {
  for (const DType dtype : {DType::Float32, DType::Int64}) {
    graphs.add("permute", [&](GraphBuilder& b) {
      return b.call("aten.permute_copy.default", {b.input({2, 3, 4}, dtype), b.ints({2, 0, 1})},
                    {4, 2, 3}, dtype);
    });
    graphs.add("select at a live index", [&](GraphBuilder& b) {
      const ValueId x = b.input({8, 12}, dtype);
      return b.call("aten.select_copy.int", {x, b.number(0), b.scalar_input()}, {12}, dtype);
    });
    graphs.add("arange", [&](GraphBuilder& b) {
      const ValueId first = b.number(0), end = b.number(9), step = b.number(1);
      return b.call("aten.arange.start_step", {first, end, step}, {9}, dtype);
    });
    graphs.add("full", [&](GraphBuilder& b) {
      return b.call("aten.full_like.default", {b.input({6, 8}, dtype), b.number(2)}, {6, 8}, dtype);
    });
    for (const std::int64_t width : {3, 8}) {
      graphs.add("cat", [&](GraphBuilder& b) {
        return b.call(
            "aten.cat.default",
            {b.list({b.input({2, width}, dtype), b.input({2, 2 * width}, dtype)}), b.number(1)},
            {2, 3 * width}, dtype);
      });
    }
    graphs.add("pad", [&](GraphBuilder& b) {
      return b.call("aten.constant_pad_nd.default",
                    {b.input({2, 3}, dtype), b.ints({1, 2}), b.number(0.0)}, {2, 6}, dtype);
    });
    graphs.add("gather", [&](GraphBuilder& b) {
      return b.call("aten.gather.default",
                    {b.input({4, 5}, dtype), b.number(1), b.input({4, 2}, DType::Int64)}, {4, 2},
                    dtype);
    });
    graphs.add("index_select", [&](GraphBuilder& b) {
      return b.call("aten.index_select.default",
                    {b.input({4, 5}, dtype), b.number(0), b.input({2}, DType::Int32)}, {2, 5},
                    dtype);
    });
  }
  for (const DType dtype : {DType::Float32, DType::Int64}) {
    graphs.add("scatter", [&](GraphBuilder& b) {
      const ValueId x = b.input({4, 5}, dtype), at = b.input({4, 2}, DType::Int64);
      const ValueId source = b.input({4, 3}, dtype);
      return Values{b.call("aten.scatter.src", {x, b.number(1), at, source}, {4, 5}, dtype),
                    b.call("aten.scatter.value", {x, b.number(1), at, b.number(3)}, {4, 5}, dtype)};
    });
  }
  graphs.add("scatter along a row", [](GraphBuilder& b) {
    return b.call("aten.scatter.value",
                  {b.input({8}), b.number(0), b.input({3}, DType::Int64), b.number(1)}, Dims{8});
  });
  graphs.add("a cache written from itself", [](GraphBuilder& b) {
    const ValueId cache = b.constant({1, 16, 2, 8});
    return b.call("update_cache.default", {cache, cache, b.number(0)}, Dims{1});
  });
}

void add_images(Graphs& graphs) {
  const Dims small{1, 2, 4, 4}, large{1, 2, 8, 8};
  graphs.add("nearest", [&](GraphBuilder& b) {
    return b.call("aten.upsample_nearest2d.vec", {b.input(small), b.ints({8, 8}), b.none()}, large);
  });
  for (const bool aligned : {false, true}) {
    graphs.add("bilinear", [&](GraphBuilder& b) {
      return b.call("aten.upsample_bilinear2d.vec",
                    {b.input(small), b.ints({8, 8}), b.flag(aligned), b.none()}, large);
    });
  }
  graphs.add("grid_sampler", [&](GraphBuilder& b) {
    return b.call("aten.grid_sampler_2d.default",
                  {b.input(small), b.input({1, 8, 8, 2}), b.number(0), b.number(1), b.flag(true)},
                  large);
  });
}

// --- Rows ---

void add_reductions(Graphs& graphs) {
  struct Reduction {
    const char* name;
    bool is_index, takes_dtype;
  };
  // Few long rows and many short ones; of the last dimension, and of two apart.
  const Dims long_rows{2, 3, 128}, short_rows{2, 40, 5};
  for (const DType dtype : {DType::Float32, DType::Int32, DType::Int64}) {
    for (const auto& [name, is_index, takes_dtype] :
         {Reduction{"aten.sum.dim_IntList", false, true},
          Reduction{"aten.amax.default", false, false},
          Reduction{"aten.amin.default", false, false},
          Reduction{"aten.argmax.default", true, false},
          Reduction{"aten.argmin.default", true, false}}) {
      for (const Dims& sizes : {long_rows, short_rows}) {
        graphs.add(name, [&](GraphBuilder& b) {
          const DType result = is_index ? DType::Int64 : dtype;
          const ValueId dims = is_index ? b.number(2) : b.ints({2});
          Values arguments{b.input(sizes, dtype), dims, b.flag(false)};
          if (takes_dtype) arguments.push_back(b.none());
          return b.call(name, arguments, {sizes[0], sizes[1]}, result);
        });
      }
    }
  }
  graphs.add("mean", [&](GraphBuilder& b) {
    return b.call("aten.mean.dim", {b.input(long_rows), b.ints({0, 2}), b.flag(false), b.none()},
                  Dims{3});
  });
  graphs.add("argmax in 32 bits", [&](GraphBuilder& b) {
    return b.call("aten.argmax.default", {b.input(long_rows), b.number(2), b.flag(false)}, {2, 3},
                  DType::Int32);
  });
}

void add_softmax(Graphs& graphs) {
  for (const char* name : {"aten._softmax.default", "aten._log_softmax.default"}) {
    for (const std::int64_t dim : {1, 2}) {
      graphs.add(name, [&](GraphBuilder& b) {
        return b.call(name, {b.input({2, 33, 70}), b.number(dim), b.flag(false)}, {2, 33, 70});
      });
    }
  }
}

void add_norms(Graphs& graphs) {
  for (const std::int64_t n : {33, 64}) {
    graphs.add("rms_norm", [&](GraphBuilder& b) { return b.rms_norm(b.input({4, n})); });
    for (const bool affine : {false, true}) {
      graphs.add("layer_norm", [&](GraphBuilder& b) {
        const ValueId out = b.tensor({4, n}), mean = b.tensor({4, 1}), rstd = b.tensor({4, 1});
        const auto vector = [&] { return affine ? b.constant({n}) : b.none(); };
        b.call("aten.native_layer_norm.default",
               {b.input({4, n}), b.ints({n}), vector(), vector(), b.number(1e-5)},
               b.list({out, mean, rstd}));
        return out;
      });
    }
  }
  graphs.add("batch_norm", [](GraphBuilder& b) {
    const ValueId out = b.tensor({2, 6, 5}), x = b.input({2, 6, 5});
    b.call("aten._native_batch_norm_legit_no_training.default",
           {x, b.constant({6}), b.constant({6}), b.constant({6}), b.constant({6}), b.number(0.1),
            b.number(1e-5)},
           b.list({out, b.tensor({0}), b.tensor({0})}));
    return out;
  });
  for (const char* mapping : {"SYMMETRIC", "ASYMMETRIC"}) {
    graphs.add(mapping, [&](GraphBuilder& b) {
      const ValueId scales = b.tensor({4, 1}), zero_points = b.tensor({4, 1}, DType::Int32);
      b.call("torchao.choose_qparams_affine.default",
             {b.input({4, 64}), b.text(mapping), b.ints({1, 64}), b.none(), b.number(-128),
              b.number(127), b.none(), b.none(), b.none(), b.flag(true)},
             b.list({scales, zero_points}));
      return Values{scales, zero_points};
    });
  }
}

void add_qparams(Graphs& graphs) {
  const auto add = [&](const char* name, const Dims& sizes, const auto& arguments) {
    graphs.add(name, [&](GraphBuilder& b) {
      const ValueId scales = b.tensor(sizes), zero_points = b.tensor(sizes, DType::Int32);
      Values args{b.input({4, 64})};
      for (const ValueId v : arguments(b)) args.push_back(v);
      b.call(name, args, b.list({scales, zero_points}));
      return Values{scales, zero_points};
    });
  };
  add("quantized_decomposed.choose_qparams.tensor", {1}, [](GraphBuilder& b) {
    return Values{b.number(-128), b.number(127), b.number(1e-5), b.none()};
  });
  add("quantized_decomposed.choose_qparams_per_token_asymmetric.default", {4, 1},
      [](GraphBuilder& b) { return Values{b.none()}; });
}

// --- Tables ---

void add_topk(Graphs& graphs) {
  for (const bool largest : {false, true}) {
    graphs.add("topk", [&](GraphBuilder& b) {
      const Values outs{b.tensor({4, 3, 5}), b.tensor({4, 3, 5}, DType::Int64)};
      b.call("aten.topk.default",
             {b.input({4, 100, 5}), b.number(3), b.number(1), b.flag(largest), b.flag(true)},
             b.list(outs));
      return outs;
    });
  }
}

void add_embeddings(Graphs& graphs) {
  for (const DType dtype : {DType::Float32, DType::Float16}) {
    graphs.add("embedding", [&](GraphBuilder& b) {
      return b.call("aten.embedding.default",
                    {b.constant({100, 16}, dtype), b.input({3}, DType::Int64), b.number(-1),
                     b.flag(false), b.flag(false)},
                    {3, 16});
    });
  }
  graphs.add("embedding of an input", [](GraphBuilder& b) {
    return b.call("aten.embedding.default",
                  {b.input({100, 16}), b.input({3}, DType::Int32), b.number(-1), b.flag(false),
                   b.flag(false)},
                  {3, 16});
  });
  for (const std::int64_t groups : {1, 2}) {
    graphs.add("embedding of bytes", [&](GraphBuilder& b) {
      const ValueId table =
          b.call("torchao.dequantize_affine.default",
                 {b.constant({100, 32}, DType::Int8), b.ints({1, 32 / groups}),
                  b.constant({100, groups}), b.none(), b.none(), b.none(), b.none(), b.number(6)},
                 {100, 32});
      return b.call("aten.embedding.default",
                    {table, b.input({3}, DType::Int64), b.number(-1), b.flag(false), b.flag(false)},
                    {3, 32});
    });
  }
  graphs.add("embedding of nibbles", [](GraphBuilder& b) {
    return b.call("et_vk.embedding_q4gsw.default",
                  {b.constant({100, 32}, DType::UInt8), b.constant({100, 2}), b.number(32),
                   b.input({3}, DType::Int64), b.flag(false)},
                  {3, 64});
  });
}

void add_rotary(Graphs& graphs) {
  const Dims q{1, 4, 6, 32}, k{1, 4, 2, 32};
  graphs.add("rotary of pairs", [&](GraphBuilder& b) {
    const ValueId queries = b.input(q), keys = b.input(k);
    const ValueId cos = b.input({4, 16}), sin = b.input({4, 16});
    const auto out = b.rotate(queries, keys, cos, sin);
    return Values{out.q, out.k};
  });
  graphs.add("rotary of halves", [&](GraphBuilder& b) {
    const ValueId queries = b.input(q), keys = b.input(k);
    const ValueId cos = b.constant({64, 32}), sin = b.constant({64, 32});
    const auto out = b.rotate_halves(queries, keys, cos, sin, b.scalar_input());
    return Values{out.q, out.k};
  });
  graphs.add("rotary of complex numbers", [](GraphBuilder& b) {
    return b.call("et_vk.apply_rotary_emb_interleaved.default",
                  {b.input({2, 4, 16}), b.input({4, 16})}, {2, 4, 16});
  });
}

// --- Linear layers ---

enum class Weight { Floats, Halves, Bytes, Nibbles, Groups, GroupsOfHalves };

ValueId linear(GraphBuilder& b, ValueId x, std::int64_t columns, Weight weight, bool bias = false,
               std::int64_t group = 32) {
  const std::int64_t depth = b.bound(x).back();
  Dims sizes = b.bound(x);
  sizes[sizes.rank() - 1] = columns;
  switch (weight) {
    case Weight::Floats:
    case Weight::Halves: {
      const DType dtype = weight == Weight::Halves ? DType::Float16 : DType::Float32;
      return b.call(
          "aten.linear.default",
          {x, b.constant({columns, depth}, dtype), bias ? b.constant({columns}) : b.none()}, sizes);
    }
    case Weight::Bytes:
      return b.call("aten._weight_int8pack_mm.default",
                    {x, b.constant({columns, depth}, DType::Int8), b.constant({columns})}, sizes);
    case Weight::Nibbles:
      return b.call("et_vk.linear_qcs4w.default",
                    {x, b.constant({columns, depth / 2}, DType::UInt8), b.constant({columns})},
                    sizes);
    case Weight::Groups:
      return b.linear(x, columns, bias, group);
    case Weight::GroupsOfHalves:
      return b.linear(x, columns, bias, group, DType::Float16);
  }
  return {};
}

// silu(gate) * up.
ValueId gated(GraphBuilder& b, ValueId x, std::int64_t columns, std::int64_t group = 32) {
  const ValueId gate = b.linear(x, columns, false, group);
  const ValueId up = b.linear(x, columns, false, group);
  return b.multiply(b.silu(gate), up);
}

void add_linear(Graphs& graphs) {
  for (const Weight weight : {Weight::Floats, Weight::Halves, Weight::Bytes, Weight::Nibbles,
                              Weight::Groups, Weight::GroupsOfHalves}) {
    // One row, few and many; columns that are whole vectors, and not.
    for (const std::int64_t rows : {1, 2, 5, 17, 40, 100, 700}) {
      for (const std::int64_t columns : {60, 130, 1001})
        graphs.add("linear", [&](GraphBuilder& b) {
          return linear(b, b.input({rows, 192}), columns, weight, columns == 130);
        });
    }
    if (weight == Weight::Floats || weight == Weight::Halves || weight == Weight::Bytes) {
      graphs.add("linear of half a step more",
                 [&](GraphBuilder& b) { return linear(b, b.input({3, 34}), 20, weight); });
    }
  }
  for (const DType scales : {DType::Float32, DType::Float16}) {
    graphs.add("groups of half a step",
               [&](GraphBuilder& b) { return b.linear(b.input({3, 64}), 20, false, 4, scales); });
  }
  graphs.add("a gate of groups of half a step",
             [](GraphBuilder& b) { return gated(b, b.input({3, 64}), 20, 4); });
  // Long and wide: loops along K for one row, large tiles for many, and a full GPU.
  for (const std::int64_t rows : {1, 5, 16, 40, 1000}) {
    for (const std::int64_t columns : {64, 576, 13000})
      graphs.add("large linear",
                 [&](GraphBuilder& b) { return b.linear(b.input({rows, 2048}), columns); });
  }
  graphs.add("a deep layer of normed rows",
             [](GraphBuilder& b) { return b.linear(b.rms_norm(b.input({5, 2048})), 64); });
}

void add_quantized_inputs(Graphs& graphs) {
  graphs.add("rows quantized on the way", [](GraphBuilder& b) {
    return b.call("et_vk.linear_dq8ca_q4gsw.default",
                  {b.input({3, 64}), b.input({3}), b.input({3}, DType::Int32),
                   b.constant({32, 32}, DType::UInt8), b.constant({2, 32}, DType::Int32),
                   b.constant({2, 32}), b.number(32), b.none()},
                  {3, 32});
  });
  for (const DType dtype : {DType::Float32, DType::Int8}) {
    graphs.add("quantized by one scale", [&](GraphBuilder& b) {
      return b.call(
          "et_vk.linear_q8ta_q8csw.default",
          {b.input({3, 64}, dtype), b.number(0.1), b.number(3), b.constant({32, 64}, DType::Int8),
           b.constant({32}, DType::Int32), b.constant({32}), b.none()},
          {3, 32});
    });
  }
}

// q, k and v as one layer, whose outputs have heads; with scales of its own, and chosen by it.
void add_split_layers(Graphs& graphs) {
  for (const bool chosen : {false, true}) {
    graphs.add("a layer that is split", [&](GraphBuilder& b) {
      const Values outs{b.tensor({3, 8, 4}), b.tensor({3, 16}), b.tensor({3, 2, 4})};
      const ValueId x = b.input({3, 64});
      const ValueId scales = chosen ? b.none() : b.input({3});
      const ValueId zeros = chosen ? b.none() : b.input({3}, DType::Int32);
      b.call(
          "et_vk.linear_dq8ca_q4gsw_split.default",
          {x, scales, zeros, b.constant({56, 32}, DType::UInt8), b.constant({2, 56}, DType::Int32),
           b.constant({2, 56}), b.number(32), b.ints({32, 16, 8}), b.ints({4, 0, 4})},
          b.list(outs));
      return outs;
    });
  }
  graphs.add("swiglu", [](GraphBuilder& b) {
    return b.call("et_vk.swiglu.default", {b.input({5, 3}), b.input({5, 3})}, {5, 3});
  });
}

void add_training(Graphs& graphs) {
  graphs.add("a loss", [](GraphBuilder& b) {
    const Values outs{b.tensor({}), b.tensor({9, 300})};
    b.call("et_vk.fused_ce.default", {b.input({9, 300}), b.input({9}, DType::Int64), b.number(9.0)},
           b.list(outs));
    return outs;
  });
  graphs.add("gradients", [](GraphBuilder& b) {
    const ValueId d_out = b.input({5, 32}), x = b.input({5, 64});
    return Values{
        b.call("et_vk.linear_dW.default", {d_out, x}, {32, 64}),
        b.call("et_vk.linear_q4gsw_backward.default",
               {d_out, b.constant({32, 32}, DType::UInt8), b.constant({2, 32}), b.number(32)},
               {5, 64})};
  });
  graphs.add("a step", [](GraphBuilder& b) {
    Values args{b.constant({6, 5}), b.constant({6, 5}), b.constant({6, 5}), b.input({6, 5})};
    for (const double number : {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001})
      args.push_back(b.number(number));
    const Values outs{b.tensor({6, 5}), b.tensor({6, 5}), b.tensor({6, 5})};
    b.call("adamw_step.default", args, b.list(outs));
    return outs;
  });
  for (const bool words : {false, true}) {
    graphs.add("weights in 4 bits", [&](GraphBuilder& b) {
      const ValueId packed =
          b.call("et_vk.q4gsw_requant.default", {b.input({6, 64}), b.input({2, 6}), b.number(32)},
                 {6, 32}, DType::UInt8);
      if (!words) return packed;
      return b.call("aten.index_select.default", {packed, b.number(0), b.input({2}, DType::Int32)},
                    {2, 32}, DType::UInt8);
    });
  }
}

void add_affine(Graphs& graphs) {
  const auto add = [&](const char* form, const auto& parameters) {
    graphs.add(form, [&](GraphBuilder& b) {
      Values args{b.input({6, 8})};
      for (const ValueId v : parameters(b)) args.push_back(v);
      for (const int bound : {-128, 127}) args.push_back(b.number(bound));
      args.push_back(b.none());
      const ValueId q =
          b.call(cat("quantized_decomposed.quantize_per_", form), args, {6, 8}, DType::Int8);
      args.front() = q;
      return Values{q, b.call(cat("quantized_decomposed.dequantize_per_", form), args, {6, 8})};
    });
  };
  const auto tensors = [](const Dims& sizes) {
    return [=](GraphBuilder& b) { return Values{b.input(sizes), b.input(sizes, DType::Int32)}; };
  };
  add("tensor.default", [](GraphBuilder& b) { return Values{b.number(0.1), b.number(3)}; });
  add("tensor.tensor", tensors({1}));
  add("token.default", tensors({6, 1}));
  add("channel.default", [](GraphBuilder& b) {
    return Values{b.input({8}), b.input({8}, DType::Int32), b.number(1)};
  });
  for (const DType dtype : {DType::Int8, DType::UInt8}) {
    // All in bytes, that nobody else has.
    graphs.add("channels of bytes", [&](GraphBuilder& b) {
      return b.call("quantized_decomposed.dequantize_per_channel.default",
                    {b.input({6, 8}, dtype), b.input({8}, dtype), b.input({8}, dtype), b.number(1),
                     b.none(), b.none(), b.none()},
                    {6, 8});
    });
    for (const std::int64_t columns : {3, 4}) {
      graphs.add("moved bytes", [&](GraphBuilder& b) {
        return b.call("aten.permute_copy.default",
                      {b.input({2, 3, columns}, dtype), b.ints({1, 0, 2})}, {3, 2, columns}, dtype);
      });
    }
  }
  graphs.add("blocks", [](GraphBuilder& b) {
    return b.call("torchao.dequantize_affine.default",
                  {b.input({6, 8}, DType::UInt8), b.ints({2, 4}), b.input({3, 2}),
                   b.input({3, 2}, DType::Int32), b.none(), b.none(), b.none(), b.number(6)},
                  {6, 8});
  });
}

void add_matmul(Graphs& graphs) {
  graphs.add("bmm", [](GraphBuilder& b) {
    return b.call("aten.bmm.default", {b.input({2, 5, 7}), b.input({2, 7, 9})}, {2, 5, 9});
  });
  graphs.add("addmm", [](GraphBuilder& b) {
    return b.call("aten.addmm.default",
                  {b.input({9}), b.input({5, 7}), b.input({7, 9}), b.number(1.0), b.number(1.0)},
                  {5, 9});
  });
  graphs.add("linear of a depth for which three steps are at once",
             [](GraphBuilder& b) { return b.linear(b.input({1, 5120}), 64); });
  graphs.add("linear over an input", [](GraphBuilder& b) {
    return b.call("aten.linear.default", {b.input({5, 7}), b.input({9, 7}), b.none()}, {5, 9});
  });
}

// A norm, one to three layers over it, a gated feed-forward, and residuals.
void add_fused_linear(Graphs& graphs) {
  for (const std::int64_t rows : {1, 5, 40, 300}) {
    const Dims sizes{1, rows, 96};
    for (const std::size_t parts : {1, 2, 3}) {
      for (const bool bias : {false, true})
        graphs.add("layers over one norm", [&](GraphBuilder& b) {
          const ValueId normed = b.rms_norm(b.input(sizes));
          Values outs;
          for (std::size_t i = 0; i < parts; ++i)
            outs.push_back(b.linear(normed, i == 0 ? 96 : 32, bias));
          return outs;
        });
    }
    for (const bool normed : {false, true}) {
      graphs.add("a gated feed-forward", [&](GraphBuilder& b) {
        const ValueId input = b.input(sizes), x = normed ? b.rms_norm(input) : input;
        return b.add(input, b.linear(gated(b, x, 200), 96, false, 8));
      });
    }
  }
}

// --- Attention ---

constexpr std::int64_t kCapacity = 300;

void add_cached_attention(Graphs& graphs) {
  for (const Heads& heads : {Heads{1, 6, 2, 32}, Heads{2, 4, 4, 64}, Heads{1, 3, 1, 6},
                             Heads{1, 32, 4, 128}, Heads{1, 8, 8, 256}}) {
    for (const std::int64_t tokens : {1, 3, 12, 40, 200}) {
      graphs.add("attention over a cache", [&](GraphBuilder& b) {
        return attend(b, cached_rows(b, heads, tokens, kCapacity));
      });
      graphs.add("masked attention over a cache", [&](GraphBuilder& b) {
        const CachedRows rows = cached_rows(b, heads, tokens, kCapacity);
        return attend(b, rows, b.input({tokens, kCapacity}));
      });
      for (const bool halves : {false, true}) {
        graphs.add("rotated attention over a cache", [&](GraphBuilder& b) {
          const CachedRows rows = cached_rows(b, heads, tokens, kCapacity);
          return attend(b, halves ? rotated_halves(b, rows) : rotated(b, rows));
        });
      }
      if (heads.count * heads.dim % 32 != 0) continue;
      graphs.add("rotated attention and its projection", [&](GraphBuilder& b) {
        const CachedRows rows = cached_rows(b, heads, tokens, kCapacity);
        return b.linear(flatten_heads(b, attend(b, rotated(b, rows))), 96);
      });
    }
  }
}

void add_other_attention(Graphs& graphs) {
  graphs.add("rotated attention at a fixed position", [](GraphBuilder& b) {
    CachedRows rows = cached_rows(b, {1, 6, 2, 32}, 12, kCapacity);
    rows.position = b.number(2);
    return attend(b, rotated_halves(b, rows));
  });
  for (const std::int64_t tokens : {1, 40}) {
    for (const std::int64_t dim : {10, 32}) {
      for (const bool masked : {false, true}) {
        graphs.add("attention over tensors", [&](GraphBuilder& b) {
          const ValueId mask = masked ? b.input({tokens, 50}) : b.none();
          return b.call("et_vk.sdpa.default",
                        {b.input({2, 4, tokens, dim}), b.input({2, 4, 50, dim}),
                         b.input({2, 4, 50, dim + 2}), mask, b.none()},
                        {2, 4, tokens, dim + 2});
        });
        graphs.add("attention over permuted tensors", [&](GraphBuilder& b) {
          const ValueId mask = masked ? b.input({tokens, 50}) : b.none();
          const auto permuted = [&](std::int64_t rows) {
            return b.call("aten.permute_copy.default",
                          {b.input({2, rows, 4, dim}), b.ints({0, 2, 1, 3})}, {2, 4, rows, dim});
          };
          const ValueId q = permuted(tokens), k = permuted(50), v = permuted(50);
          return b.call("et_vk.sdpa.default", {q, k, v, mask, b.none()}, {2, 4, tokens, dim});
        });
      }
    }
  }
  for (const std::int64_t width : {3, 8}) {
    graphs.add("a write into a cache", [&](GraphBuilder& b) {
      const ValueId cache = b.constant({1, 16, 2, width});
      return b.call("update_cache.default", {b.input({1, 4, 2, width}), cache, b.scalar_input()},
                    Dims{1});
    });
    graphs.add("a write into a cache at a fixed position", [&](GraphBuilder& b) {
      const ValueId cache = b.constant({1, 16, 2, width});
      return b.call("update_cache.default", {b.input({1, 4, 2, width}), cache, b.number(2)},
                    Dims{1});
    });
  }
}

ValueId convolution(GraphBuilder& b, ValueId x, ValueId weight, const Dims& out,
                    std::int64_t padding, bool transposed, std::int64_t groups) {
  const ValueId one = b.ints({1, 1}), pad = b.ints({padding, padding}), none = b.ints({0, 0});
  const bool clamped = padding > 0;
  Values arguments{x,
                   weight,
                   clamped ? b.constant({out[1]}) : b.none(),
                   one,
                   pad,
                   one,
                   b.flag(transposed),
                   none,
                   b.number(groups)};
  if (clamped) arguments.insert(arguments.end(), {b.number(0.0), b.number(6.0)});
  return b.call(clamped ? "et_vk.conv_with_clamp.default" : "aten.convolution.default", arguments,
                out);
}

ValueId convolution(GraphBuilder& b, const Dims& x, const Dims& weight, const Dims& out,
                    std::int64_t padding, bool transposed, std::int64_t groups) {
  return convolution(b, b.input(x), b.constant(weight), out, padding, transposed, groups);
}

void add_convolutions(Graphs& graphs) {
  for (const std::int64_t padding : {0, 1}) {
    const std::int64_t side = 6 + 2 * padding;  // of the output, of a kernel of 3
    graphs.add("a convolution", [&](GraphBuilder& b) {
      return convolution(b, {2, 5, 8, 8}, {70, 5, 3, 3}, {2, 70, side, side}, padding, false, 1);
    });
    graphs.add("a convolution in groups", [&](GraphBuilder& b) {
      return convolution(b, {2, 6, 8, 8}, {6, 1, 3, 3}, {2, 6, side, side}, padding, false, 6);
    });
    graphs.add("a transposed convolution", [&](GraphBuilder& b) {
      return convolution(b, {2, 6, 8, 8}, {6, 4, 3, 3}, {2, 4, 10 - 2 * padding, 10 - 2 * padding},
                         padding, true, 1);
    });
  }
}

// Pixels for one row, few and many of them.
void add_depthwise(Graphs& graphs) {
  for (const DType dtype : {DType::Float32, DType::Float16}) {
    for (const std::int64_t padding : {0, 1}) {
      for (const std::int64_t side : {1, 5, 60}) {
        graphs.add("a depthwise and a pointwise convolution", [&](GraphBuilder& b) {
          const std::int64_t from = side + 2 - 2 * padding;
          const ValueId x = convolution(b, {1, 8, from, from}, {8, 1, 3, 3}, {1, 8, side, side},
                                        padding, false, 8);
          return convolution(b, x, b.constant({20, 8, 1, 1}, dtype), {1, 20, side, side}, 0, false,
                             1);
        });
      }
    }
  }
}

// --- What joins a product's results ---

void add_epilogues(Graphs& graphs) {
  for (const std::int64_t groups : {1, 6}) {
    graphs.add("a convolution with a residual and a bound", [&](GraphBuilder& b) {
      const Dims sizes{2, 6, 6, 6};
      const ValueId y =
          convolution(b, {2, 6, 8, 8}, {6, 6 / groups, 3, 3}, sizes, 0, false, groups);
      return b.call("aten.relu.default", {b.add(b.input(sizes), y)}, sizes);
    });
    graphs.add("a convolution with silu", [&](GraphBuilder& b) {
      return b.silu(
          convolution(b, {2, 6, 8, 8}, {6, 6 / groups, 3, 3}, {2, 6, 6, 6}, 0, false, groups));
    });
  }
  for (const DType dtype : {DType::Float32, DType::Float16}) {
    for (const std::int64_t rows : {1, 40}) {
      graphs.add("a layer with a residual and a function", [&](GraphBuilder& b) {
        const Dims sizes{rows, 64};
        const ValueId y = b.call("aten.linear.default",
                                 {b.input(sizes), b.constant({64, 64}, dtype), b.none()}, sizes);
        return b.call("aten.gelu.default", {b.add(y, b.input(sizes))}, sizes);
      });
    }
  }
}

// --- 8-bit activations ---

struct ByteLayer {
  std::string name;  // after et_vk.q8ta_
  Dims x, weight, out;
  std::int64_t kernel = 0, padding = 0, groups = 1;
};

// With a bias where outputs are even.
ValueId byte_layer(GraphBuilder& b, const ByteLayer& layer) {
  const std::int64_t outputs = layer.kernel > 0 ? layer.out[1] : layer.out.back();
  Values args{b.input(layer.x, DType::Int8), b.number(0.1), b.number(3),
              b.constant(layer.weight, DType::Int8)};
  args.insert(args.end(),
              {b.constant({outputs}, DType::Int32), b.constant({outputs}), b.number(0.2),
               b.number(-5), outputs % 2 == 0 ? b.constant({outputs}) : b.none()});
  if (layer.kernel > 0) {
    const auto both = [&](std::int64_t n) { return b.ints({n, n}); };
    args.insert(args.end(), {both(layer.kernel), both(1), both(layer.padding)});
    if (layer.name == "conv2d_transposed") args.push_back(both(0));
    args.insert(args.end(), {both(1), b.number(layer.groups)});
  }
  args.push_back(b.text("relu"));
  return b.call(cat("et_vk.q8ta_", layer.name, ".default"), args, layer.out, DType::Int8);
}

void add_byte_layers(Graphs& graphs) {
  for (const ByteLayer& layer : {
           ByteLayer{"linear", {5, 36}, {70, 36}, {5, 70}},
           {"linear", {40, 36}, {68, 36}, {40, 68}},
           {"linear_gemv", {1, 35}, {7, 35}, {1, 7}},
           {"conv2d", {2, 5, 8, 8}, {70, 48}, {2, 70, 8, 8}, 3, 1},
           {"conv2d", {2, 8, 7, 7}, {69, 72}, {2, 69, 7, 7}, 3, 1},
           {"conv2d", {1, 8, 7, 7}, {8, 36}, {1, 8, 7, 7}, 3, 1, 2},
           {"conv2d_dw", {2, 6, 8, 8}, {3, 3, 6}, {2, 6, 8, 8}, 3, 1, 6},
           {"conv2d_dw", {2, 5, 8, 8}, {3, 3, 5}, {2, 5, 8, 8}, 3, 1, 5},
           {"conv2d_pw", {1, 12, 64, 64}, {20, 12}, {1, 20, 64, 64}, 1},
           {"conv2d_transposed", {1, 8, 6, 6}, {8, 72}, {1, 8, 8, 8}, 3},
           {"conv2d_transposed", {1, 8, 6, 6}, {8, 36}, {1, 8, 8, 8}, 3, 0, 2},
       })
    graphs.add(layer.name, [&](GraphBuilder& b) { return byte_layer(b, layer); });
}

void add_byte_elements(Graphs& graphs) {
  for (const Dims& other : {Dims{2, 4, 3, 3}, Dims{2, 4, 1, 1}}) {
    graphs.add("a sum of bytes", [&](GraphBuilder& b) {
      const Dims sizes{2, 4, 3, 3};
      Values args{b.input(sizes, DType::Int8), b.input(other, DType::Int8)};
      for (const double scale : {0.1, 0.2, 0.3})
        args.insert(args.end(), {b.number(scale), b.number(3)});
      args.push_back(b.number(1.0));
      return b.call("et_vk.q8ta_add.default", args, sizes, DType::Int8);
    });
  }
  graphs.add("shuffled bytes", [](GraphBuilder& b) {
    const ValueId x = b.input({1, 4, 3, 3}, DType::Int8);
    const ValueId out = b.call("et_vk.q8ta_relu.default",
                               {x, b.number(0.1), b.number(3), b.number(0.2), b.number(-128)},
                               {1, 4, 3, 3}, DType::Int8);
    return b.call("et_vk.q8ta_pixel_shuffle.default",
                  {out, b.number(0.2), b.number(-128), b.number(5.0), b.number(-128), b.number(2)},
                  {1, 1, 6, 6}, DType::Int8);
  });
}

void add_pooling(Graphs& graphs) {
  for (const bool flag : {false, true}) {
    graphs.add("a largest element", [&](GraphBuilder& b) {
      const ValueId x = b.input({2, 3, 8, 8}), two = b.ints({2, 2}), none = b.ints({0, 0});
      const Values arguments{x, two, two, none, b.ints({1, 1}), b.flag(false)};
      if (!flag) return b.call("aten.max_pool2d.default", arguments, {2, 3, 4, 4});
      const ValueId out = b.tensor({2, 3, 4, 4}), at = b.tensor({2, 3, 4, 4}, DType::Int32);
      b.call("aten.max_pool2d_with_indices.default", arguments, b.list({out, at}));
      return out;
    });
    for (const bool divides : {false, true}) {
      graphs.add("a mean of elements", [&](GraphBuilder& b) {
        const ValueId x = b.input({2, 3, 8, 8}), two = b.ints({2, 2}), none = b.ints({0, 0});
        return b.call(
            "aten.avg_pool2d.default",
            {x, two, two, none, b.flag(false), b.flag(flag), divides ? b.number(3) : b.none()},
            {2, 3, 4, 4});
      });
    }
  }
}

void add_delta_rule(Graphs& graphs) {
  for (const Dims& decay : {Dims{1, 2, 6}, Dims{1, 2, 6, 8}}) {
    graphs.add("the delta rule", [&](GraphBuilder& b) {
      const Values outs{b.tensor({1, 4, 6, 5}), b.tensor({1, 2, 8, 5})};
      b.call("llama.gated_delta_rule.default",
             {b.input({1, 4, 6, 8}), b.input({1, 2, 6, 8}), b.input({1, 2, 6, 5}), b.input(decay),
              b.input({1, 2, 6}), b.input({1, 2, 8, 5})},
             b.list(outs));
      return outs;
    });
  }
}

// Rows and results of a caller's own, through every kernel.
void add_doors(Graphs& graphs) {
  for (const DType dtype : {DType::Float32, DType::Float16}) {
    for (const std::int64_t channels : {3, 64}) {
      for (const std::int64_t width : {1, 6, 40}) {
        graphs.add("a pointwise convolution", [&](GraphBuilder& b) {
          return b.call(std::string(pointwise_convolution()),
                        {b.input({1, channels, 1, width}), b.constant({70, channels}, dtype),
                         b.none(), b.number(0.0), b.number(6.0)},
                        {1, 70, 1, width});
        });
      }
    }
  }
}

}  // namespace

std::vector<NamedGraph> corpus_graphs() {
  Graphs graphs;
  for (const auto add : {add_unary,           add_binary,
                         add_where,           add_movement,
                         add_images,          add_reductions,
                         add_softmax,         add_norms,
                         add_qparams,         add_topk,
                         add_embeddings,      add_rotary,
                         add_linear,          add_quantized_inputs,
                         add_split_layers,    add_training,
                         add_affine,          add_matmul,
                         add_fused_linear,    add_cached_attention,
                         add_other_attention, add_delta_rule,
                         add_doors,           add_convolutions,
                         add_epilogues,       add_byte_layers,
                         add_byte_elements,   add_pooling,
                         add_depthwise})
    add(graphs);
  return std::move(graphs.made);
}

}  // namespace etwebgpu::testing
