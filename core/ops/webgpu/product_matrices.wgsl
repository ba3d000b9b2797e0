// product_matrices.wgsl - the products of product_blocks.wgsl that are of f16, where subgroups multiply matrices: of UNIT_M x
// UNIT_K by UNIT_K x UNIT_N numbers, with sums in f32. A subgroup makes EACH such pieces of the tile, which lie side by
// side. The player knows these sizes and SUBGROUP, that of all subgroups.
enable chromium_experimental_subgroup_matrix;
const HEIGHT = 4 * DOWN;
const WIDTH = 4 * ACROSS;
const IN_ROW = WIDTH / UNIT_N;
const EACH = HEIGHT / UNIT_M * IN_ROW / (THREADS / SUBGROUP);
const EACH_ACROSS = min(EACH, IN_ROW);

// For each k the tile's rows (columns); and what each subgroup has made.
var<workgroup> block_a: array<f16, DEPTH * HEIGHT>;
var<workgroup> block_b: array<f16, DEPTH * WIDTH>;
var<workgroup> made: array<f32, THREADS / SUBGROUP * UNIT_M * UNIT_N>;

fn store(i: u32, x: mat4x4f) {
  if (i < 4 * DOWN) {
    let at = share_of(i, DOWN, TURN_A);
    for (var j = 0u; j < 16; j++) { block_a[(4 * at.y + j / 4) * HEIGHT + 4 * at.x + j % 4] = operand(x[j / 4])[j % 4]; }
  } else if (i < LOADS) {
    let at = share_of(i - 4 * DOWN, ACROSS, PLAIN_B);
    for (var j = 0u; j < 16; j++) { block_b[(4 * at.y + j / 4) * WIDTH + 4 * at.x + j % 4] = operand(x[j / 4])[j % 4]; }
  }
}
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32,
        @builtin(subgroup_id) group: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let at = place_of(here);
  let tile = vec2u(at.x * WIDTH, at.y * HEIGHT);
  let begin = at.z * param(10);
  let end = min(param(5), begin + param(10));
  let row = group * EACH / IN_ROW * UNIT_M;
  let col = group * EACH % IN_ROW * UNIT_N;
  var next: array<mat4x4f, TURNS>;
  var sums: array<subgroup_matrix_result<f32, UNIT_N, UNIT_M>, EACH>;
  for (var k0 = begin; k0 < end; k0 += DEPTH) {
    for (var i = 0u; i < TURNS; i++) { next[i] = load(thread + i * THREADS, tile, k0, end); }
    workgroupBarrier();
    for (var i = 0u; i < TURNS; i++) { store(thread + i * THREADS, next[i]); }
    workgroupBarrier();
    for (var k = 0u; k < DEPTH; k += UNIT_K) {
      for (var down = 0u; down < EACH / EACH_ACROSS; down++) {
        let left = subgroupMatrixLoad<subgroup_matrix_left<f16, UNIT_K, UNIT_M>, col_major>(
            &block_a, k * HEIGHT + row + down * UNIT_M, HEIGHT);
        for (var across = 0u; across < EACH_ACROSS; across++) {
          let right = subgroupMatrixLoad<subgroup_matrix_right<f16, UNIT_N, UNIT_K>, row_major>(
              &block_b, k * WIDTH + col + across * UNIT_N, WIDTH);
          let i = down * EACH_ACROSS + across;
          sums[i] = subgroupMatrixMultiplyAccumulate(left, right, sums[i]);
        }
      }
    }
  }
  let mine = group * UNIT_M * UNIT_N;
  for (var i = 0u; i < EACH; i++) {
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&made, mine, sums[i], UNIT_N);
    workgroupBarrier();
    for (var j = 4 * lane; j < UNIT_M * UNIT_N; j += 4 * SUBGROUP) {
      finish(tile.y + row + i / EACH_ACROSS * UNIT_M + j / UNIT_N, tile.x + col + i % EACH_ACROSS * UNIT_N + j % UNIT_N,
             vec4f(made[mine + j], made[mine + j + 1], made[mine + j + 2], made[mine + j + 3]), at.z * param(0) * param(3));
    }
  }
}
