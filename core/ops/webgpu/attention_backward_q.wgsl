// attention_backward_q.wgsl - d_q of attention.wgsl, for 32 queries of one head a workgroup (heads.wgsl); and for the
// keys' pass (attention_backward_kv.wgsl) four numbers a query and head: its greatest score, the sum of exp(score -
// greatest), the slope of the greatest, the mean slope. Slopes are less that of the greatest score: where one
// probability is nearly 1, the difference of its slope and their mean would be hardly more than its rounding.
#2 @group(0) @binding(6) var<storage, read_write> d_q: array<vec4f>;
#!2 @group(0) @binding(6) var<storage, read_write> d_q: array<f32>;
@group(0) @binding(7) var<storage, read_write> kept: array<vec4f>;

// Of four queries over some of the keys; the mean is not yet divided by the sum, and less the slope of the greatest.
struct State { most: vec4f, slope: vec4f, total: vec4f, mean: vec4f }
fn merged(a: State, b: State) -> State {
  let most = max(a.most, b.most);
  let slope = select(a.slope, b.slope, b.most > a.most);
  let by_a = power(a.most - most);
  let by_b = power(b.most - most);
  return State(most, slope, a.total * by_a + b.total * by_b,
               (a.mean + a.total * (a.slope - slope)) * by_a + (b.mean + b.total * (b.slope - slope)) * by_b);
}
fn of_key(score: vec4f, slope: vec4f, there: bool) -> State {
  return State(select(vec4f(-3.0e38), score, there), slope, vec4f(select(0.0, 1.0, there)), vec4f());
}
fn put(part: Part, row: u32, col: u32, x: vec4f) {
  if (row >= part.length || col >= WIDTH) { return; }
  let at = first(6) + place(part, row, col);
#2   d_q[at / 4] = x;
#!2   for (var i = 0u; i < min(4, WIDTH - col); i++) { d_q[at + i] = x[i]; }
}
fn put_rows(part: Part, row: u32, col: u32, x: mat4x4f) {
  put(part, row, col, x[0]);
  put(part, row + 1, col, x[1]);
  put(part, row + 2, col, x[2]);
  put(part, row + 3, col, x[3]);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = place_of(here);
  let part = part_of(at);
  let row = at.x * 32;
  if (row >= part.length) { return; }
  let r = thread / 8;
  let c = thread % 8;
  var all = of_key(vec4f(), vec4f(), false);
  var near = mat4x4f();
  var far = mat4x4f();
  // First what is kept of the queries, then d_q with it.
  for (var turn = 0u; turn < 2; turn++) {
    for (var key0 = 0u; key0 < part.length; key0 += 32) {
      let s = transpose(scores(part, row, key0, r, c)); // of each key, four queries
      let u = transpose(slopes(part, row, key0, r, c));
      let there = vec4u(key0 + 4 * c) + vec4u(0, 1, 2, 3) < vec4u(part.length);
      if (turn == 0) {
        all = merged(all, merged(merged(of_key(s[0], u[0], there.x), of_key(s[1], u[1], there.y)),
                                 merged(of_key(s[2], u[2], there.z), of_key(s[3], u[3], there.w))));
        continue;
      }
      let by = 1 / (all.total * sqrt(f32(WIDTH)));
      let away = all.slope + all.mean;
      put_weights(4 * c, r, mat4x4f(power(s[0] - all.most) * by * (u[0] - away), power(s[1] - all.most) * by * (u[1] - away),
                                    power(s[2] - all.most) * by * (u[2] - away), power(s[3] - all.most) * by * (u[3] - away)));
      put_right(4 * r, c, rows_of_k(part, key0 + 4 * r, part.slice + 4 * c));
      near += weighted(r, c);
      if (WIDTH > 32) {
        put_right(4 * r, c, rows_of_k(part, key0 + 4 * r, part.slice + 32 + 4 * c));
        far += weighted(r, c);
      }
    }
    if (turn == 1) { break; }
    left[thread] = all.most;
    left[64 + thread] = all.slope;
    left[128 + thread] = all.total;
    left[192 + thread] = all.mean;
    workgroupBarrier();
    all = of_key(vec4f(), vec4f(), false);
    for (var i = 8 * r; i < 8 * r + 8; i++) { all = merged(all, State(left[i], left[64 + i], left[128 + i], left[192 + i])); }
    all.mean /= all.total;
    workgroupBarrier();
    let keep = transpose(mat4x4f(all.most, all.total, all.slope, all.mean));
    for (var i = 0u; i < select(0, min(4, part.length - min(part.length, row + 4 * r)), c == 0 && part.slice == 0); i++) {
      kept[first(7) / 4 + (part.start + row + 4 * r + i) * param(7) + part.head] = keep[i];
    }
  }
  put_rows(part, row + 4 * r, part.slice + 4 * c, near);
  if (WIDTH > 32) { put_rows(part, row + 4 * r, part.slice + 32 + 4 * c, far); }
}
