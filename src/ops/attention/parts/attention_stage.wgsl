// What attention_matrices fetched, of keys or of values, on its way to the matrix units. Not a function: in one it could
// not be told that no index is past the end, and each would be clamped.
#if HALF
#else
    {
      var past = vec4<bool>(false);
#repeat N STAGED
      past = past | (abs(fetched${N}) > vec4<f32>(MOST_HALF));
#endrepeat
      if (any(past)) {  // hardly ever, so this costs less than to mend each number
#repeat N STAGED
        fetched${N} = within_half(fetched${N});
#endrepeat
      }
    }
#endif
#repeat N STAGED
    {
      let value = vec4<f16>(fetched${N});
#repeat J 4
      staged[key${N} * PITCH + i${N} * 4u + ${J}u] = value[${J}];
#endrepeat
    }
#endrepeat
