// One block of KEYS keys from `begin` on: scores become weights, by store_weight, and what the rows summed so far
// is to fade by is left in row_fade.
    var part = top;
    for (var key = my_part; key < KEYS; key += ${LANES}u) {
      var score = scores[my_row * SCORE_PITCH + key];
#if MASK
      score += load_mask(batch, my_head, my_query, min(begin + key, last_key));
      scores[my_row * SCORE_PITCH + key] = score;
#endif
      if (begin + key < my_limit) {
        part = max(part, score);
      }
    }
    row_part[lane] = part;
    workgroupBarrier();
    var next = top;
    for (var n = 0u; n < ${LANES}u; n++) {
      next = max(next, row_part[my_row * ${LANES}u + n]);
    }
    let fade = exp(top - next);
    top = next;
    sum *= fade;
    for (var key = my_part; key < KEYS; key += ${LANES}u) {
      let score = scores[my_row * SCORE_PITCH + key];
#if MASK
      let weight = select(0.0, exp(score - next), begin + key < my_limit && score >= LOWEST);
#else
      let weight = select(0.0, exp(score - next), begin + key < my_limit);
#endif
      store_weight(my_row, key, weight);
      sum += weight;
    }
    if (my_part == 0u) {
      row_fade[my_row] = fade;
    }
    workgroupBarrier();
