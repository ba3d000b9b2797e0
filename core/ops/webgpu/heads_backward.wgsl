// heads_backward.wgsl - put between heads.wgsl and the kernels of attention's backward pass.
#2 @group(0) @binding(5) var<storage, read> d_out: array<vec4f>;
#!2 @group(0) @binding(5) var<storage, read> d_out: array<f32>;

#2 fn of_d(i: u32) -> vec4f { return d_out[i / 4]; }
#!2 fn of_d(i: u32) -> vec4f { return vec4f(d_out[i], d_out[i + 1], d_out[i + 2], d_out[i + 3]); }
fn row_of_d(part: Part, row: u32, col: u32) -> vec4f { return within(part, row, col, of_d(first(5) + place(part, row, col))); }
fn rows_of_d(part: Part, row: u32, col: u32) -> mat4x4f {
  return mat4x4f(row_of_d(part, row, col), row_of_d(part, row + 1, col), row_of_d(part, row + 2, col), row_of_d(part, row + 3, col));
}
// The gradients of the probabilities of queries from row on, keys from col on.
fn slopes(part: Part, row: u32, col: u32, r: u32, c: u32) -> mat4x4f {
  var sums = mat4x4f();
  for (var i = 0u; i < WIDTH; i += 32) {
    put_left(4 * c, r, transpose(rows_of_d(part, row + 4 * r, i + 4 * c)));
    put_right(4 * c, r, transpose(rows_of_v(part, col + 4 * r, i + 4 * c)));
    workgroupBarrier();
    sums += product_of_blocks(r, c);
    workgroupBarrier();
  }
  if (has(1)) { return times(sums, factors(part, row + 4 * r, col + 4 * c)); }
  return sums;
}
