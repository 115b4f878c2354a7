// What attention_matrices fetched, of keys or of values, on its way to the matrix units. Not a function: in one it could
// not be told that no index is past the end, and each would be clamped.
#repeat N STAGED
    {
#if HALF
      let value = vec4<f16>(fetched${N});
#else
      let value = vec4<f16>(within_half(fetched${N}));
#endif
#repeat J 4
      staged[key${N} * PITCH + i${N} * 4u + ${J}u] = value[${J}];
#endrepeat
    }
#endrepeat
