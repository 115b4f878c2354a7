// gemv_bytes: weights and scales of the unit `next`. A unit past the end is clamped and counts nothing.
    unit = min(next, ${UNITS}u - 1u);
#repeat M MATS
#repeat S 4
    q${M}_${S} = weights[base${M} + (unit * 4u + ${S}u) * 16u];
#endrepeat
    scale${M} = hold_scale(panel${M}, column, unit * 4u / params.group_steps);
#endrepeat
