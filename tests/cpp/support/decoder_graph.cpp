#include "support/decoder_graph.h"

#include "support/call_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kGroup = 32;

class DecoderBuilder {
 public:
  explicit DecoderBuilder(const DecoderShape& shape) : s_(shape), rows_(shape.context - 1) {}

  Graph build() {
    const ValueId tables[] = {prepacked({s_.context, s_.head_dim / 2}),
                              prepacked({s_.context, s_.head_dim / 2})};
    const ValueId tokens = b_.input({1, rows_}, DType::Int32);
    position_ = b_.input({1}, DType::Int32);
    length_ = b_.call("sym_size.int", {tokens, b_.number(kOne)}, b_.graph.add(SymInt{}));
    ValueId x = embed(tokens);
    cut_tables(tables);
    for (std::int64_t i = 0; i < s_.layers; ++i) x = layer(x);
    const ValueId row =
        b_.call("aten.select_copy.int", {x, b_.number(kOne), b_.number(-kOne)}, Dims{1, s_.width});
    b_.output(linear(norm(row), s_.vocabulary));
    return std::move(b_.graph);
  }

 private:
  static constexpr std::int64_t kZero = 0, kOne = 1;

  ValueId prepacked(const Dims& sizes) {
    return b_.call("et_vk.prepack.default", {b_.constant(sizes)}, sizes);
  }
  ValueId embed(ValueId tokens) {
    return b_.call(
        "et_vk.embedding_q4gsw.default",
        {b_.constant({s_.vocabulary, s_.width / 2}, DType::UInt8),
         b_.constant({s_.vocabulary, s_.width / kGroup}), b_.number(kGroup), tokens, b_.flag(true)},
        {1, rows_, s_.width});
  }
  ValueId position(std::int64_t index) {
    return b_.call("et_vk.select_as_symint.default",
                   {position_, b_.number(kZero), b_.number(index)}, b_.graph.add(SymInt{}));
  }
  // The tables' rows from the position on, copied once for all layers.
  void cut_tables(const ValueId (&tables)[2]) {
    const ValueId first = position(-kOne);
    const ValueId end = b_.call("add", {first, length_}, b_.graph.add(SymInt{}));
    const Dims sizes{rows_, s_.head_dim / 2};
    for (int i = 0; i < 2; ++i) {
      const ValueId cut =
          b_.call("aten.slice_copy.Tensor",
                  {tables[i], b_.number(kZero), first, end, b_.number(kOne)}, sizes);
      tables_[i] = b_.call("aten.clone.default", {cut, b_.none()}, sizes);
    }
    start_ = position(kZero);
  }
  ValueId norm(ValueId x) {
    return b_.call("et_vk.rms_norm.default", {x, b_.constant({s_.width}), b_.number(1e-5)},
                   b_.bound(x));
  }
  ValueId linear(ValueId x, std::int64_t width) {
    Dims out = b_.bound(x);
    const std::int64_t depth = out.back();
    out[out.rank() - 1] = width;
    return b_.call("et_vk.linear_q4gsw.default",
                   {x, b_.constant({width, depth / 2}, DType::UInt8),
                    b_.constant({depth / kGroup, width}), b_.number(kGroup), b_.none()},
                   out);
  }
  ValueId view(ValueId x, const Dims& sizes) { return b_.view(x, sizes, rows_, length_); }
  // A linear layer whose output is looked at as it is, as the exporter leaves it.
  ValueId projection(ValueId x, std::int64_t width) {
    const ValueId y = linear(x, width);
    return view(y, b_.bound(y));
  }
  ValueId heads(ValueId x, std::int64_t count) {
    return view(linear(x, count * s_.head_dim), {1, rows_, count, s_.head_dim});
  }
  ValueId cache() { return b_.constant({1, s_.context, s_.kv_heads, s_.head_dim}); }

  ValueId attention(ValueId x) {
    const ValueId q = heads(x, s_.heads), k = heads(x, s_.kv_heads), v = heads(x, s_.kv_heads);
    const ValueId rotated_q = b_.tensor(b_.bound(q)), rotated_k = b_.tensor(b_.bound(k));
    b_.call("et_vk.apply_rotary_emb.default", {q, k, tables_[0], tables_[1]},
            b_.list({rotated_q, rotated_k}));
    const ValueId y = b_.call("sdpa_with_kv_cache.default",
                              {rotated_q, rotated_k, v, cache(), cache(), start_, b_.number(kOne),
                               b_.none(), b_.number(kZero), b_.flag(true), b_.none()},
                              b_.bound(q));
    return projection(view(y, {1, rows_, s_.heads * s_.head_dim}), s_.width);
  }
  ValueId feed_forward(ValueId x) {
    const ValueId gate = projection(x, s_.hidden);
    const ValueId silu = b_.multiply(gate, b_.call("aten.sigmoid.default", {gate}, b_.bound(gate)));
    return projection(b_.multiply(silu, projection(x, s_.hidden)), s_.width);
  }
  ValueId layer(ValueId x) {
    const ValueId attended = b_.add(x, attention(norm(x)));
    return b_.add(attended, feed_forward(norm(attended)));
  }

  const DecoderShape& s_;
  const std::int64_t rows_;
  CallBuilder b_;
  ValueId position_ = kNoValue, length_ = kNoValue, start_ = kNoValue;
  ValueId tables_[2] = {};
};

}  // namespace

Graph decoder_graph(const DecoderShape& shape) { return DecoderBuilder(shape).build(); }

}  // namespace etwebgpu::testing
