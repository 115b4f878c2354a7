#include "support/decoder_graph.h"

#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

constexpr std::int64_t kGroup = 32;

class DecoderBuilder {
 public:
  explicit DecoderBuilder(const DecoderShape& shape) : s_(shape), rows_(shape.context - 1) {}

  Graph build() {
    const ValueId tables[] = {b_.prepacked({s_.context, s_.head_dim / 2}),
                              b_.prepacked({s_.context, s_.head_dim / 2})};
    const ValueId tokens = b_.input({1, rows_}, DType::Int32);
    position_ = b_.input({1}, DType::Int32);
    length_ = b_.call("sym_size.int", {tokens, b_.number(1)}, b_.scalar());
    ValueId x = embed(tokens);
    cut_tables(tables);
    for (std::int64_t i = 0; i < s_.layers; ++i) x = layer(x);
    b_.output(b_.linear(b_.rms_norm(b_.token(x, -1)), s_.vocabulary));
    return std::move(b_.graph);
  }

 private:
  ValueId embed(ValueId tokens) {
    return b_.call(
        "et_vk.embedding_q4gsw.default",
        {b_.constant({s_.vocabulary, s_.width / 2}, DType::UInt8),
         b_.constant({s_.vocabulary, s_.width / kGroup}), b_.number(kGroup), tokens, b_.flag(true)},
        {1, rows_, s_.width});
  }
  ValueId position(std::int64_t index) {
    return b_.call("et_vk.select_as_symint.default", {position_, b_.number(0), b_.number(index)},
                   b_.scalar());
  }
  // The tables' rows from the position on, copied once for all layers.
  void cut_tables(const ValueId (&tables)[2]) {
    const ValueId first = position(-1);
    const ValueId end = b_.call("add", {first, length_}, b_.scalar());
    const Dims sizes{rows_, s_.head_dim / 2};
    for (int i = 0; i < 2; ++i) {
      const ValueId cut = b_.call("aten.slice_copy.Tensor",
                                  {tables[i], b_.number(0), first, end, b_.number(1)}, sizes);
      tables_[i] = b_.call("aten.clone.default", {cut, b_.none()}, sizes);
    }
    start_ = position(0);
  }
  ValueId view(ValueId x, const Dims& sizes) { return b_.view(x, sizes, rows_, length_); }
  // A linear layer whose output is looked at as it is, as the exporter leaves it.
  ValueId projection(ValueId x, std::int64_t width) {
    const ValueId y = b_.linear(x, width);
    return view(y, b_.bound(y));
  }
  ValueId heads(ValueId x, std::int64_t count) {
    return view(b_.linear(x, count * s_.head_dim), {1, rows_, count, s_.head_dim});
  }

  ValueId attention(ValueId x) {
    const ValueId q = heads(x, s_.heads), k = heads(x, s_.kv_heads), v = heads(x, s_.kv_heads);
    const auto rotated = b_.rotate(q, k, tables_[0], tables_[1]);
    const auto cache = b_.cache({1, s_.context, s_.kv_heads, s_.head_dim});
    const ValueId y = b_.attend(rotated.q, rotated.k, v, cache, start_);
    return projection(view(y, {1, rows_, s_.heads * s_.head_dim}), s_.width);
  }
  ValueId feed_forward(ValueId x) {
    const ValueId gate = projection(x, s_.hidden);
    const ValueId silu = b_.silu(gate), up = projection(x, s_.hidden);
    return projection(b_.multiply(silu, up), s_.width);
  }
  ValueId layer(ValueId x) {
    const ValueId attended = b_.add(x, attention(b_.rms_norm(x)));
    return b_.add(attended, feed_forward(b_.rms_norm(attended)));
  }

  const DecoderShape& s_;
  const std::int64_t rows_;
  GraphBuilder b_;
  ValueId position_ = kNoValue, length_ = kNoValue, start_ = kNoValue;
  ValueId tables_[2] = {};
};

}  // namespace

Graph decoder_graph(const DecoderShape& shape) { return DecoderBuilder(shape).build(); }

}  // namespace etwebgpu::testing
