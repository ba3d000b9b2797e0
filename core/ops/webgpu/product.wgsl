// product.wgsl - y (rows, cols) = (add ? y : 0) + a b^T, then bias, then GELU with its argument kept in pre.
// a is (rows, depth), or turned (depth, rows); b is (cols, depth), or plain (depth, cols). 256 threads make a tile of
// y, each 4 x 4 of it (few rows: of 16 x 256, else of 64 x 64), from blocks of a and b in workgroup memory.
// params: rows, cols, depth, first column of y and bias, strides of y, a and b, places of the first element in a and b,
// what is done to the sums: 1 add, 2 bias, 4 GELU, 8 pre; rows of all b. VARIANT: 1 a is turned, 2 b is plain, 4 few rows, 8
// b is of int8: the scales of its rows, then the rows, four numbers a word.
const TURN_A = (VARIANT & 1) != 0;
const PLAIN_B = (VARIANT & 2) != 0;
const FEW = (VARIANT & 4) != 0;
const INT8 = (VARIANT & 8) != 0;
const ACROSS = select(16u, 64u, FEW); // threads along a row of y
const DOWN = 256 / ACROSS;
const DEPTH = select(16u, 8u, FEW); // of a block

@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> pre: array<f32>;

var<workgroup> block_a: array<vec4f, DEPTH * DOWN>; // of each k, the rows
var<workgroup> block_b: array<vec4f, DEPTH * ACROSS>;

fn of_b(col: u32, k: u32) -> f32 {
  if (INT8) {
    let row = param(3) + col;
    return integer(b[first(3) + param(10) + row * ((param(6) + 3) / 4) + k / 4], k) * bitcast<f32>(b[first(3) + row]);
  }
  return bitcast<f32>(b[first(3) + param(8) + select(col * param(6) + k, k * param(6) + col, PLAIN_B)]);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3u, @builtin(local_invocation_index) thread: u32) {
  let rows = param(0);
  let cols = param(1);
  let depth = param(2);
  let stride_a = param(5);
  let first_a = first(2) + param(7);
  let row0 = at.y * DOWN * 4;
  let col0 = at.x * ACROSS * 4;
  var sums: array<vec4f, 4>;
  for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
    for (var i = thread; i < DEPTH * DOWN; i += 256) {
      var k = k0 + i % DEPTH;
      var row = i / DEPTH;
      if (TURN_A) {
        k = k0 + i / DOWN;
        row = i % DOWN;
      }
      var part = vec4f();
      for (var j = 0u; j < 4; j++) {
        let r = row0 + row * 4 + j;
        if (r < rows && k < depth) { part[j] = a[first_a + select(r * stride_a + k, k * stride_a + r, TURN_A)]; }
      }
      block_a[(k - k0) * DOWN + row] = part;
    }
    for (var i = thread; i < DEPTH * ACROSS; i += 256) {
      var k = k0 + i % DEPTH;
      var col = i / DEPTH;
      if (PLAIN_B) {
        k = k0 + i / ACROSS;
        col = i % ACROSS;
      }
      var part = vec4f();
      for (var j = 0u; j < 4; j++) {
        let c = col0 + col * 4 + j;
        if (c < cols && k < depth) { part[j] = of_b(c, k); }
      }
      block_b[(k - k0) * ACROSS + col] = part;
    }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k++) {
      let left = block_a[k * DOWN + thread / ACROSS];
      let right = block_b[k * ACROSS + thread % ACROSS];
      sums[0] += left.x * right;
      sums[1] += left.y * right;
      sums[2] += left.z * right;
      sums[3] += left.w * right;
    }
    workgroupBarrier();
  }
  let then = param(9);
  for (var i = 0u; i < 4; i++) {
    let row = row0 + thread / ACROSS * 4 + i;
    for (var j = 0u; j < 4; j++) {
      let col = col0 + thread % ACROSS * 4 + j;
      if (row >= rows || col >= cols) { continue; }
      let place = row * param(4) + col + param(3);
      var sum = sums[i][j];
      if ((then & 1) != 0) { sum += y[first(1) + place]; }
      if ((then & 2) != 0) { sum += bias[first(4) + col + param(3)]; }
      if ((then & 8) != 0) { pre[first(5) + place] = sum; }
      if ((then & 4) != 0) { sum *= normal_cdf(sum); }
      y[first(1) + place] = sum;
    }
  }
}
