// heads.wgsl - put before the kernels of attention: tiles of 32 queries by 32 keys of one head of one sequence.
// A workgroup has 64 threads: thread r * 8 + c makes rows 4 r and on and columns 4 c and on of a tile, from blocks of 32
// lines of eight quads in workgroup memory. A line is a row of what was read, or, turned, a column of 32 rows. The order
// of the quads keeps threads which read or write together out of each other's banks. Scores are never stored.
// A workgroup's results are 64 columns wide; a wider head takes several, which all compute its scores.
// params: stride of the rows, number of the first sequence, the dropout (5), heads.
// VARIANT: 1 dropout; 2 all rows can be read four numbers at a time; the rest the width of a head.
const WIDTH = VARIANT >> 2;
const SLICES = (WIDTH + 63) / 64;
#2 @group(0) @binding(1) var<storage, read> q: array<vec4f>;
#!2 @group(0) @binding(1) var<storage, read> q: array<f32>;
#2 @group(0) @binding(2) var<storage, read> k: array<vec4f>;
#!2 @group(0) @binding(2) var<storage, read> k: array<f32>;
#2 @group(0) @binding(3) var<storage, read> v: array<vec4f>;
#!2 @group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;

var<workgroup> left: array<vec4f, 256>;
var<workgroup> right: array<vec4f, 256>;
var<workgroup> weights: array<vec4f, 256>;

struct Part { sequence: u32, start: u32, length: u32, head: u32, slice: u32 }
fn part_of(at: vec3u) -> Part {
  let start = starts[first(4) + at.z];
  return Part(param(1) + at.z, start, starts[first(4) + at.z + 1] - start, at.y / SLICES, at.y % SLICES * 64);
}
fn spot(line: u32, quad: u32) -> u32 { return line * 8 + (quad ^ (line / 4)); }
fn place(part: Part, row: u32, col: u32) -> u32 {
  return (part.start + min(row, part.length - 1)) * param(0) + part.head * WIDTH + col;
}
// What is beyond the sequence or the head is 0.
fn within(part: Part, row: u32, col: u32, x: vec4f) -> vec4f {
  return select(vec4f(), x, (vec4u(col) + vec4u(0, 1, 2, 3) < vec4u(WIDTH)) & vec4<bool>(row < part.length));
}
#2 fn of_q(i: u32) -> vec4f { return q[i / 4]; }
#2 fn of_k(i: u32) -> vec4f { return k[i / 4]; }
#2 fn of_v(i: u32) -> vec4f { return v[i / 4]; }
#!2 fn of_q(i: u32) -> vec4f { return vec4f(q[i], q[i + 1], q[i + 2], q[i + 3]); }
#!2 fn of_k(i: u32) -> vec4f { return vec4f(k[i], k[i + 1], k[i + 2], k[i + 3]); }
#!2 fn of_v(i: u32) -> vec4f { return vec4f(v[i], v[i + 1], v[i + 2], v[i + 3]); }
fn row_of_q(part: Part, row: u32, col: u32) -> vec4f { return within(part, row, col, of_q(first(1) + place(part, row, col))); }
fn row_of_k(part: Part, row: u32, col: u32) -> vec4f { return within(part, row, col, of_k(first(2) + place(part, row, col))); }
fn row_of_v(part: Part, row: u32, col: u32) -> vec4f { return within(part, row, col, of_v(first(3) + place(part, row, col))); }
fn rows_of_q(part: Part, row: u32, col: u32) -> mat4x4f {
  return mat4x4f(row_of_q(part, row, col), row_of_q(part, row + 1, col), row_of_q(part, row + 2, col), row_of_q(part, row + 3, col));
}
fn rows_of_k(part: Part, row: u32, col: u32) -> mat4x4f {
  return mat4x4f(row_of_k(part, row, col), row_of_k(part, row + 1, col), row_of_k(part, row + 2, col), row_of_k(part, row + 3, col));
}
fn rows_of_v(part: Part, row: u32, col: u32) -> mat4x4f {
  return mat4x4f(row_of_v(part, row, col), row_of_v(part, row + 1, col), row_of_v(part, row + 2, col), row_of_v(part, row + 3, col));
}
fn put_left(line: u32, quad: u32, x: mat4x4f) {
  left[spot(line, quad)] = x[0];
  left[spot(line + 1, quad)] = x[1];
  left[spot(line + 2, quad)] = x[2];
  left[spot(line + 3, quad)] = x[3];
}
fn put_right(line: u32, quad: u32, x: mat4x4f) {
  right[spot(line, quad)] = x[0];
  right[spot(line + 1, quad)] = x[1];
  right[spot(line + 2, quad)] = x[2];
  right[spot(line + 3, quad)] = x[3];
}
fn put_weights(line: u32, quad: u32, x: mat4x4f) {
  weights[spot(line, quad)] = x[0];
  weights[spot(line + 1, quad)] = x[1];
  weights[spot(line + 2, quad)] = x[2];
  weights[spot(line + 3, quad)] = x[3];
}
fn product_of_blocks(r: u32, c: u32) -> mat4x4f {
  var sums = mat4x4f();
  for (var i = 0u; i < 32; i++) { sums += outer(left[spot(i, r)], right[spot(i, c)]); }
  return sums;
}
// What is in the block on the right, weighted.
fn weighted(r: u32, c: u32) -> mat4x4f {
  workgroupBarrier();
  var sums = mat4x4f();
  for (var i = 0u; i < 32; i++) { sums += outer(weights[spot(i, r)], right[spot(i, c)]); }
  workgroupBarrier();
  return sums;
}
// Of queries from row on, keys from col on.
fn scores(part: Part, row: u32, col: u32, r: u32, c: u32) -> mat4x4f {
  var sums = mat4x4f();
  for (var i = 0u; i < WIDTH; i += 32) {
    put_left(4 * c, r, transpose(rows_of_q(part, row + 4 * r, i + 4 * c)));
    put_right(4 * c, r, transpose(rows_of_k(part, col + 4 * r, i + 4 * c)));
    workgroupBarrier();
    sums += product_of_blocks(r, c);
    workgroupBarrier();
  }
  return sums * (1 / sqrt(f32(WIDTH)));
}
// The dropout's factors of four queries and four keys.
fn factors(part: Part, query: u32, key: u32) -> mat4x4f {
  let stride = padded(part.length);
  let at = (part.head * part.length + query) * stride + key;
  return mat4x4f(four_dropped(2, part.sequence, at), four_dropped(2, part.sequence, at + stride),
                 four_dropped(2, part.sequence, at + 2 * stride), four_dropped(2, part.sequence, at + 3 * stride));
}
fn times(a: mat4x4f, b: mat4x4f) -> mat4x4f { return mat4x4f(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]); }
fn power(x: vec4f) -> vec4f { return exp(max(x, vec4f(-87))); }
