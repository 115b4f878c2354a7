// Llama-shaped decoders as the exporter writes them (checked against an export of SmolLM2).
#pragma once

#include "ir/graph.h"

namespace etwebgpu::testing {

struct DecoderShape {
  std::int64_t layers, width, heads, kv_heads, head_dim, hidden, vocabulary;
  std::int64_t context = 2048;
};

inline constexpr DecoderShape kSmolLm2{30, 576, 9, 3, 64, 1536, 49152};
inline constexpr DecoderShape kOneBillion{16, 2048, 32, 8, 64, 8192, 128256};

// forward(tokens [1, S], position [1]): logits [1, vocabulary] of the last token; 4-bit weights in
// groups of 32. S is at most one less than the context.
Graph decoder_graph(const DecoderShape& shape);

}  // namespace etwebgpu::testing
