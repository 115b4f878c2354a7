// BERT-shaped sentence encoders as the exporter writes them (checked against an export).
#pragma once

#include "ir/graph.h"

namespace etwebgpu::testing {

struct EncoderShape {
  std::int64_t layers, width, heads, hidden, vocabulary;
  std::int64_t longest = 128;  // tokens of a call
};

inline constexpr EncoderShape kMiniLm{6, 384, 12, 1536, 30522};

// forward(tokens [1, S], mask [1, S]): the last layer's [1, S, width] times the mask, to be
// averaged. Weights are f32; the attention is made of products and a softmax.
Graph encoder_graph(const EncoderShape& shape);

}  // namespace etwebgpu::testing
