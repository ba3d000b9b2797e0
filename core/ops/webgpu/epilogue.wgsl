// epilogue.wgsl - put before product_blocks.wgsl and product_sum.wgsl: what becomes of the sums of a product.
// y = (add ? y : 0) + sums, then bias, then GELU with its argument kept in pre.
// params: rows, cols, first column in y and bias, stride of y, what is done: 1 add, 2 bias, 4 GELU, 8 pre.
// VARIANT: 128 y, bias and pre can be read and written four numbers at a time.
#128 @group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
#!128 @group(0) @binding(1) var<storage, read_write> y: array<f32>;
#128 @group(0) @binding(2) var<storage, read> bias: array<vec4f>;
#!128 @group(0) @binding(2) var<storage, read> bias: array<f32>;
#128 @group(0) @binding(3) var<storage, read_write> pre: array<vec4f>;
#!128 @group(0) @binding(3) var<storage, read_write> pre: array<f32>;

#128 fn four_of_y(i: u32) -> vec4f { return y[i / 4]; }
#!128 fn four_of_y(i: u32) -> vec4f { return vec4f(y[i], y[i + 1], y[i + 2], y[i + 3]); }
#128 fn four_of_bias(i: u32) -> vec4f { return bias[i / 4]; }
#!128 fn four_of_bias(i: u32) -> vec4f { return vec4f(bias[i], bias[i + 1], bias[i + 2], bias[i + 3]); }

// The sums of four columns. begin: where y begins for this run of them, in elements.
fn finish(row: u32, col: u32, sums: vec4f, begin: u32) {
  if (row >= param(0) || col >= param(1)) { return; }
  let count = min(param(1) - col, 4);
  let then = param(4);
  let at = row * param(3) + col + param(2);
  let to = first(1) + begin + at;
  var x = sums;
  if ((then & 1) != 0) { x += four_of_y(to); }
  if ((then & 2) != 0) { x += four_of_bias(first(2) + col + param(2)); }
  if ((then & 8) != 0) {
#128     pre[(first(3) + at) / 4] = x;
#!128     for (var i = 0u; i < count; i++) { pre[first(3) + at + i] = x[i]; }
  }
  if ((then & 4) != 0) { x *= normal_cdf(x); }
#128   y[to / 4] = x;
#!128   for (var i = 0u; i < count; i++) { y[to + i] = x[i]; }
}
