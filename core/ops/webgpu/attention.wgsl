// attention.wgsl - softmax attention for 32 queries of one head a workgroup (heads.wgsl), over 32 keys at a time, with the
// greatest score and the sum so far kept on the way.
#2 @group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
#!2 @group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn put(part: Part, row: u32, col: u32, x: vec4f) {
  if (row >= part.length || col >= WIDTH) { return; }
  let at = first(5) + place(part, row, col);
#2   out[at / 4] = x;
#!2   for (var i = 0u; i < min(4, WIDTH - col); i++) { out[at + i] = x[i]; }
}
fn put_rows(part: Part, row: u32, col: u32, x: mat4x4f, by: vec4f) {
  put(part, row, col, x[0] * by.x);
  put(part, row + 1, col, x[1] * by.y);
  put(part, row + 2, col, x[2] * by.z);
  put(part, row + 3, col, x[3] * by.w);
}
fn bounded(x: vec4f, key: u32, length: u32) -> vec4f { return select(vec4f(-3.0e38), x, key < length); }
fn rows_times(x: mat4x4f, by: vec4f) -> mat4x4f { return mat4x4f(x[0] * by.x, x[1] * by.y, x[2] * by.z, x[3] * by.w); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = place_of(here);
  let part = part_of(at);
  let row = at.x * 32;
  if (row >= part.length) { return; }
  let r = thread / 8;
  let c = thread % 8;
  var most = vec4f(-3.0e38);
  var total = vec4f();
  var near = mat4x4f();
  var far = mat4x4f();
  for (var key0 = 0u; key0 < part.length; key0 += 32) {
    let key = key0 + 4 * c;
    let s = transpose(scores(part, row, key0, r, c)); // of each key, four queries
    let t = mat4x4f(bounded(s[0], key, part.length), bounded(s[1], key + 1, part.length),
                    bounded(s[2], key + 2, part.length), bounded(s[3], key + 3, part.length));
    put_weights(4 * c, r, t);
    workgroupBarrier();
    var greatest = most;
    for (var i = 0u; i < 32; i++) { greatest = max(greatest, weights[spot(i, r)]); }
    workgroupBarrier();
    // What is beyond the sequence becomes exp(-87), where it meets rows of zeros, and is nothing beside the greatest's 1.
    put_weights(4 * c, r, mat4x4f(power(t[0] - greatest), power(t[1] - greatest), power(t[2] - greatest), power(t[3] - greatest)));
    let shrink = power(most - greatest);
    most = greatest;
    total *= shrink;
    workgroupBarrier();
    for (var i = 0u; i < 32; i++) { total += weights[spot(i, r)]; }
    if (has(1)) {
      workgroupBarrier();
      let f = transpose(factors(part, row + 4 * r, key));
      for (var i = 0u; i < 4; i++) { weights[spot(4 * c + i, r)] *= f[i]; }
    }
    put_right(4 * r, c, rows_of_v(part, key0 + 4 * r, part.slice + 4 * c));
    near = rows_times(near, shrink) + weighted(r, c);
    if (WIDTH > 32) {
      put_right(4 * r, c, rows_of_v(part, key0 + 4 * r, part.slice + 32 + 4 * c));
      far = rows_times(far, shrink) + weighted(r, c);
    }
  }
  put_rows(part, row + 4 * r, part.slice + 4 * c, near, 1 / total);
  if (WIDTH > 32) { put_rows(part, row + 4 * r, part.slice + 32 + 4 * c, far, 1 / total); }
}
