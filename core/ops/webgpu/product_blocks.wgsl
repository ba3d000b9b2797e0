// product_blocks.wgsl - put before product.wgsl and product_matrices.wgsl: how the operands of a product are read. It is a b^T
// of a (rows, depth), or turned (depth, rows), and b (cols, depth), or plain (depth, cols). A workgroup makes a tile of y
// from blocks of a and b, 16 deep, which its threads load in pieces of 4 x 4. The depth may be cut into parts: that of z
// goes to y + z * rows * stride, and product_sum.wgsl adds them.
// params: those of epilogue.wgsl, depth, words of a row of a and b, places of the first element in a and b, depth of a
// part, a multiple of 16.
// VARIANT: 1 a is turned, 2 b is plain; tiles of 128 x 128 (0), 64 x 64 (4), 32 x 32 (8), 16 x 64 (12); 16 a, 32 b can be
// read four numbers at a time; 64 b is of int8, each row its scale and then four numbers a word; 512 b is of f16, rows of
// whole quads of numbers; 256 a and b are rounded to f16 in the blocks, and `overflow` tells that a number was beyond it.
#256 enable f16;
#256 alias Operand = f16;
#!256 alias Operand = f32;
const TURN_A = (VARIANT & 1) != 0;
const PLAIN_B = (VARIANT & 2) != 0;
const TILE = (VARIANT / 4) % 4;
const DOWN = array(32u, 16u, 8u, 4u)[TILE]; // quads of rows in a tile, of columns
const ACROSS = array(32u, 16u, 8u, 16u)[TILE];
const TALL = TILE < 2; // a thread makes two quads of rows, of columns
const WIDE = TILE == 0;
const THREADS_DOWN = select(DOWN, DOWN / 2, TALL);
const THREADS_ACROSS = select(ACROSS, ACROSS / 2, WIDE);
const THREADS = THREADS_DOWN * THREADS_ACROSS;
const DEPTH = 16u;
const LOADS = 4 * (DOWN + ACROSS); // 4 x 4 numbers each
const TURNS = (LOADS + THREADS - 1) / THREADS;

#16 @group(0) @binding(4) var<storage, read> a: array<vec4f>;
#!16 @group(0) @binding(4) var<storage, read> a: array<f32>;
#64 @group(0) @binding(5) var<storage, read> b: array<u32>;
#32 @group(0) @binding(5) var<storage, read> b: array<vec4f>;
#512 @group(0) @binding(5) var<storage, read> b: array<vec2u>;
#!608 @group(0) @binding(5) var<storage, read> b: array<f32>;
#256 @group(0) @binding(6) var<storage, read_write> overflow: array<atomic<u32>>;

// Four numbers from one on; what is beyond an end is 0.
#16 fn four_of_a(i: u32) -> vec4f { return a[i / 4]; }
#!16 fn four_of_a(i: u32) -> vec4f { return vec4f(a[i], a[i + 1], a[i + 2], a[i + 3]); }
#32 fn four_of_b(i: u32) -> vec4f { return b[i / 4]; }
#!608 fn four_of_b(i: u32) -> vec4f { return vec4f(b[i], b[i + 1], b[i + 2], b[i + 3]); }
fn within(x: vec4f, at: u32, end: u32) -> vec4f { return select(vec4f(), x, vec4u(at) + vec4u(0, 1, 2, 3) < vec4u(end)); }
fn line_of_a(line: u32, at: u32, lines: u32, end: u32) -> vec4f {
  if (line >= lines) { return vec4f(); }
  return within(four_of_a(first(4) + param(8) + line * param(6) + at), at, end);
}
fn line_of_b(line: u32, at: u32, lines: u32, end: u32) -> vec4f {
  if (line >= lines) { return vec4f(); }
  let row = first(5) + line * param(7);
#64   let word = bitcast<i32>(b[row + 1 + (param(9) + at) / 4]);
#64   return within(vec4f((vec4i(word) << vec4u(24, 16, 8, 0)) >> vec4u(24)), at, end) * bitcast<f32>(b[row]);
#512   let words = b[row / 2 + (param(9) + at) / 4];
#512   return within(vec4f(unpack2x16float(words.x), unpack2x16float(words.y)), at, end);
#!576   return within(four_of_b(row + param(9) + at), at, end);
}
// 4 x 4 numbers: of four k, those of four rows (columns).
fn load_a(row: u32, k: u32, end: u32) -> mat4x4f {
  let line = select(row, k, TURN_A);
  let at = select(k, row, TURN_A);
  let lines = select(param(0), end, TURN_A);
  let stop = select(end, param(0), TURN_A);
  let x = mat4x4f(line_of_a(line, at, lines, stop), line_of_a(line + 1, at, lines, stop),
                  line_of_a(line + 2, at, lines, stop), line_of_a(line + 3, at, lines, stop));
  if (TURN_A) { return x; }
  return transpose(x);
}
fn load_b(col: u32, k: u32, end: u32) -> mat4x4f {
  let line = select(col, k, PLAIN_B);
  let at = select(k, col, PLAIN_B);
  let lines = select(param(1), end, PLAIN_B);
  let stop = select(end, param(1), PLAIN_B);
  let x = mat4x4f(line_of_b(line, at, lines, stop), line_of_b(line + 1, at, lines, stop),
                  line_of_b(line + 2, at, lines, stop), line_of_b(line + 3, at, lines, stop));
  if (PLAIN_B) { return x; }
  return transpose(x);
}
#!256 fn operand(x: vec4f) -> vec4f { return x; }
#256 fn operand(x: vec4f) -> vec4h {
#256   if (any(abs(x) > vec4f(65504))) { atomicStore(&overflow[0], 1); }
#256   return vec4h(clamp(x, vec4f(-65504), vec4f(65504)));
#256 }

// Which quad and which four k a thread loads: neighbours take what lies side by side.
fn share_of(i: u32, quads: u32, turned: bool) -> vec2u {
  if (turned) { return vec2u(i % quads, i / quads); }
  return vec2u(i / 4, i % 4);
}
fn load(i: u32, tile: vec2u, k: u32, end: u32) -> mat4x4f {
  if (i < 4 * DOWN) {
    let at = share_of(i, DOWN, TURN_A);
    return load_a(tile.y + 4 * at.x, k + 4 * at.y, end);
  }
  let at = share_of(i - 4 * DOWN, ACROSS, PLAIN_B);
  return load_b(tile.x + 4 * at.x, k + 4 * at.y, end);
}
