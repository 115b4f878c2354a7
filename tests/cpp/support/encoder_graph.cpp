#include "support/encoder_graph.h"

#include "support/graph_builder.h"

namespace etwebgpu::testing {
namespace {

class EncoderBuilder {
 public:
  explicit EncoderBuilder(const EncoderShape& shape)
      : s_(shape), rows_(shape.longest), head_dim_(shape.width / shape.heads) {}

  Graph build() {
    const ValueId tokens = b_.input({1, rows_}, DType::Int32);
    const ValueId mask = b_.input({1, rows_}, DType::Int32);
    length_ = b_.call("sym_size.int", {tokens, b_.number(1)}, b_.scalar());
    const ValueId seen = as_float(mask);
    penalty_ = penalty(seen);
    ValueId x = embed(tokens);
    for (std::int64_t i = 0; i < s_.layers; ++i) x = layer(x);
    const ValueId column =
        b_.call("aten.unsqueeze_copy.default", {seen, b_.number(2)}, Dims{1, rows_, 1});
    b_.output(b_.multiply(x, column));
    return std::move(b_.graph);
  }

 private:
  ValueId prepacked_number() { return b_.prepacked({}); }
  ValueId as_float(ValueId mask) {
    return b_.call("aten._to_copy.default",
                   {mask, b_.none(), b_.none(), b_.none(), b_.none(), b_.flag(false), b_.none()},
                   b_.bound(mask));
  }
  // (1 - mask) times a large negative number, for every head and query.
  ValueId penalty(ValueId seen) {
    ValueId x =
        b_.call("aten.sub.Tensor", {prepacked_number(), seen, b_.number(1)}, b_.bound(seen));
    x = b_.call("aten.unsqueeze_copy.default", {x, b_.number(1)}, Dims{1, 1, rows_});
    x = b_.call("aten.unsqueeze_copy.default", {x, b_.number(1)}, Dims{1, 1, 1, rows_});
    return b_.multiply(x, prepacked_number());
  }
  ValueId lookup(std::int64_t rows, ValueId indices) {
    Dims out = b_.bound(indices);
    out.push_back(s_.width);
    return b_.call(
        "aten.embedding.default",
        {b_.constant({rows, s_.width}), indices, b_.number(-1), b_.flag(false), b_.flag(false)},
        out);
  }
  ValueId embed(ValueId tokens) {
    constexpr std::int64_t kPositions = 512, kKinds = 2;
    const ValueId kinds =
        b_.call("aten.full_like.default",
                {tokens, b_.number(0), b_.none(), b_.none(), b_.none(), b_.flag(false), b_.none()},
                b_.tensor({1, rows_}, DType::Int32));
    const ValueId positions = b_.call(
        "aten.arange.start_step",
        {b_.number(0), length_, b_.number(1), b_.none(), b_.none(), b_.none(), b_.flag(false)},
        b_.tensor({rows_}, DType::Int32));
    // One after another, for C++ leaves the order of a call's arguments open.
    const ValueId words = lookup(s_.vocabulary, tokens), places = lookup(kPositions, positions);
    const ValueId placed = b_.add(words, places);
    return norm(b_.add(placed, lookup(kKinds, kinds)));
  }

  ValueId norm(ValueId x) {
    const Dims sizes = b_.bound(x);
    const ValueId y = b_.tensor(sizes);
    const ValueId mean = b_.tensor({1, rows_, 1}), deviation = b_.tensor({1, rows_, 1});
    b_.call("aten.native_layer_norm.default",
            {x, b_.ints({s_.width}), b_.constant({s_.width}), b_.constant({s_.width}),
             b_.number(1e-12)},
            b_.list({y, mean, deviation}));
    return y;
  }
  ValueId view(ValueId x, const Dims& sizes) { return b_.view(x, sizes, rows_, length_); }
  ValueId permute(ValueId x, std::vector<std::int64_t> order) {
    Dims sizes = b_.bound(x);
    for (std::size_t d = 0; d < order.size(); ++d)
      sizes[d] = b_.bound(x)[static_cast<std::size_t>(order[d])];
    return b_.call("aten.permute_copy.default", {x, b_.ints(std::move(order))}, sizes);
  }
  // Over rows without a batch.
  ValueId linear(ValueId x, std::int64_t width) {
    const std::int64_t depth = b_.bound(x).back();
    return b_.call("aten.linear.default", {x, b_.constant({width, depth}), b_.constant({width})},
                   Dims{rows_, width});
  }
  ValueId flat(ValueId x) { return view(x, {rows_, s_.width}); }
  ValueId batched(ValueId x) { return view(x, {1, rows_, s_.width}); }
  ValueId product(ValueId a, ValueId b) {
    return b_.call("aten.bmm.default", {a, b}, Dims{s_.heads, b_.bound(a)[1], b_.bound(b)[2]});
  }

  ValueId heads(ValueId x) {
    const ValueId rows = linear(flat(x), s_.width);
    return permute(view(rows, {1, rows_, s_.heads, head_dim_}), {0, 2, 1, 3});
  }
  ValueId attention(ValueId x) {
    const ValueId q = heads(x), k = permute(heads(x), {0, 1, 3, 2}), v = heads(x);
    const ValueId queries = view(q, {s_.heads, rows_, head_dim_});
    const ValueId keys = view(k, {s_.heads, head_dim_, rows_});
    const ValueId products = view(product(queries, keys), {1, s_.heads, rows_, rows_});
    const ValueId scores = b_.multiply(products, prepacked_number());
    const ValueId weights =
        b_.call("aten._softmax.default", {b_.add(scores, penalty_), b_.number(-1), b_.flag(false)},
                b_.bound(scores));
    const ValueId values = view(v, {s_.heads, rows_, head_dim_});
    const ValueId y = product(view(weights, {s_.heads, rows_, rows_}), values);
    const ValueId rows = permute(view(y, {1, s_.heads, rows_, head_dim_}), {0, 2, 1, 3});
    return batched(linear(flat(rows), s_.width));
  }
  ValueId feed_forward(ValueId x) {
    const ValueId up = view(linear(flat(x), s_.hidden), {rows_, s_.hidden});
    const ValueId active = b_.call("aten.gelu.default", {up, b_.text("none")}, b_.bound(up));
    return batched(linear(active, s_.width));
  }
  ValueId layer(ValueId x) {
    const ValueId attended = norm(b_.add(attention(x), x));
    return norm(b_.add(feed_forward(attended), attended));
  }

  const EncoderShape& s_;
  const std::int64_t rows_, head_dim_;
  GraphBuilder b_;
  ValueId length_ = kNoValue, penalty_ = kNoValue;
};

}  // namespace

Graph encoder_graph(const EncoderShape& shape) { return EncoderBuilder(shape).build(); }

}  // namespace etwebgpu::testing
