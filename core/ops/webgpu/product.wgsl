// product.wgsl - the products of product_blocks.wgsl, with the end that epilogue.wgsl gives them. Each thread makes 4 x 4
// numbers of the tile, or 8 x 4, or 8 x 8, from blocks in workgroup memory, while those that come next are on their way. A
// block has the tile's rows (columns) of each k in quads, in an order that keeps threads which read or write together out
// of each other's banks.
var<workgroup> block_a: array<vec4<Operand>, DEPTH * DOWN>;
var<workgroup> block_b: array<vec4<Operand>, DEPTH * ACROSS>;

fn place(quad: u32, k: u32, quads: u32) -> u32 { return k * quads + (quad ^ (k / 4 * 2 % quads)); }
fn store(i: u32, x: mat4x4f) {
  if (i < 4 * DOWN) {
    let at = share_of(i, DOWN, TURN_A);
    block_a[place(at.x, 4 * at.y, DOWN)] = operand(x[0]);
    block_a[place(at.x, 4 * at.y + 1, DOWN)] = operand(x[1]);
    block_a[place(at.x, 4 * at.y + 2, DOWN)] = operand(x[2]);
    block_a[place(at.x, 4 * at.y + 3, DOWN)] = operand(x[3]);
  } else if (i < LOADS) {
    let at = share_of(i - 4 * DOWN, ACROSS, PLAIN_B);
    block_b[place(at.x, 4 * at.y, ACROSS)] = operand(x[0]);
    block_b[place(at.x, 4 * at.y + 1, ACROSS)] = operand(x[1]);
    block_b[place(at.x, 4 * at.y + 2, ACROSS)] = operand(x[2]);
    block_b[place(at.x, 4 * at.y + 3, ACROSS)] = operand(x[3]);
  }
}
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = place_of(here);
  let tile = 4 * vec2u(at.x * ACROSS, at.y * DOWN);
  let begin = at.z * param(10);
  let end = min(param(5), begin + param(10));
  let down = thread / THREADS_ACROSS;
  let across = thread % THREADS_ACROSS;
  var next: array<mat4x4f, TURNS>;
  var sums = mat4x4f();
  var right = mat4x4f();
  var below = mat4x4f();
  var beyond = mat4x4f();
  // In a turn the block of k0 is on its way while the one before is multiplied.
  for (var k0 = begin; k0 < end + DEPTH; k0 += DEPTH) {
    if (k0 < end) {
      for (var i = 0u; i < TURNS; i++) { next[i] = load(thread + i * THREADS, tile, k0, end); }
    }
    for (var k = select(0u, DEPTH, k0 == begin); k < DEPTH; k++) {
      let a0 = vec4f(block_a[place(down, k, DOWN)]);
      let b0 = vec4f(block_b[place(across, k, ACROSS)]);
      sums += outer(a0, b0);
      if (TALL) {
        let a1 = vec4f(block_a[place(down + THREADS_DOWN, k, DOWN)]);
        below += outer(a1, b0);
        if (WIDE) {
          let b1 = vec4f(block_b[place(across + THREADS_ACROSS, k, ACROSS)]);
          right += outer(a0, b1);
          beyond += outer(a1, b1);
        }
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < TURNS; i++) { store(thread + i * THREADS, next[i]); }
    workgroupBarrier();
  }
  var all = array(sums, below, right, beyond);
  for (var i = 0u; i < select(select(4u, 8u, TALL), 16u, WIDE); i++) {
    let row = tile.y + 4 * (down + THREADS_DOWN * (i / 4 % 2)) + i % 4;
    let col = tile.x + 4 * (across + THREADS_ACROSS * (i / 8));
    finish(row, col, all[i / 4][i % 4], at.z * param(0) * param(3));
  }
}
