// attention_backward_kv.wgsl - d_k and d_v of attention.wgsl, for 32 keys of one head a workgroup (heads.wgsl), with what
// attention_backward_q.wgsl kept of each query.
#2 @group(0) @binding(6) var<storage, read_write> d_k: array<vec4f>;
#!2 @group(0) @binding(6) var<storage, read_write> d_k: array<f32>;
#2 @group(0) @binding(7) var<storage, read_write> d_v: array<vec4f>;
#!2 @group(0) @binding(7) var<storage, read_write> d_v: array<f32>;
@group(0) @binding(8) var<storage, read> kept: array<vec4f>;

fn put(part: Part, row: u32, col: u32, of_k: vec4f, of_v: vec4f) {
  if (row >= part.length || col >= WIDTH) { return; }
  let at = place(part, row, col);
#2   d_k[(first(6) + at) / 4] = of_k;
#2   d_v[(first(7) + at) / 4] = of_v;
#!2   for (var i = 0u; i < min(4, WIDTH - col); i++) {
#!2     d_k[first(6) + at + i] = of_k[i];
#!2     d_v[first(7) + at + i] = of_v[i];
#!2   }
}
fn put_rows(part: Part, row: u32, col: u32, of_k: mat4x4f, of_v: mat4x4f) {
  put(part, row, col, of_k[0], of_v[0]);
  put(part, row + 1, col, of_k[1], of_v[1]);
  put(part, row + 2, col, of_k[2], of_v[2]);
  put(part, row + 3, col, of_k[3], of_v[3]);
}
fn of_query(part: Part, query: u32) -> vec4f {
  return kept[first(8) / 4 + (part.start + min(query, part.length - 1)) * param(7) + part.head];
}
fn chance(score: vec4f, known: vec4f, there: bool) -> vec4f { return select(vec4f(), power(score - known.x) / known.y, there); }
fn flow(p: vec4f, slope: vec4f, known: vec4f) -> vec4f { return p * (slope - known.z - known.w) / sqrt(f32(WIDTH)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let at = place_of(here);
  let part = part_of(at);
  let key = at.x * 32;
  if (key >= part.length) { return; }
  let r = thread / 8;
  let c = thread % 8;
  var near_k = mat4x4f();
  var far_k = mat4x4f();
  var near_v = mat4x4f();
  var far_v = mat4x4f();
  for (var query0 = 0u; query0 < part.length; query0 += 32) {
    let query = query0 + 4 * r;
    let s = scores(part, query0, key, r, c); // of each query, four keys
    let u = slopes(part, query0, key, r, c);
    let there = vec4u(query) + vec4u(0, 1, 2, 3) < vec4u(part.length);
    let known = mat4x4f(of_query(part, query), of_query(part, query + 1), of_query(part, query + 2), of_query(part, query + 3));
    let p = mat4x4f(chance(s[0], known[0], there.x), chance(s[1], known[1], there.y), chance(s[2], known[2], there.z),
                    chance(s[3], known[3], there.w));
    var w = p;
    if (has(1)) { w = times(p, factors(part, query, key + 4 * c)); }
    put_weights(4 * r, c, w);
    put_right(4 * r, c, rows_of_d(part, query, part.slice + 4 * c));
    near_v += weighted(r, c);
    if (WIDTH > 32) {
      put_right(4 * r, c, rows_of_d(part, query, part.slice + 32 + 4 * c));
      far_v += weighted(r, c);
    }
    put_weights(4 * r, c, mat4x4f(flow(p[0], u[0], known[0]), flow(p[1], u[1], known[1]), flow(p[2], u[2], known[2]), flow(p[3], u[3], known[3])));
    put_right(4 * r, c, rows_of_q(part, query, part.slice + 4 * c));
    near_k += weighted(r, c);
    if (WIDTH > 32) {
      put_right(4 * r, c, rows_of_q(part, query, part.slice + 32 + 4 * c));
      far_k += weighted(r, c);
    }
  }
  put_rows(part, key + 4 * r, part.slice + 4 * c, near_k, near_v);
  if (WIDTH > 32) { put_rows(part, key + 4 * r, part.slice + 32 + 4 * c, far_k, far_v); }
}
