// elements.wgsl - d *= gelu'(x), or with VARIANT 1 dropout of d (rows, width), whose x is `place`.
// params: elements, width, the dropout (5).
@group(0) @binding(1) var<storage, read_write> d: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = group(here) * 256 + thread;
  if (i >= param(0)) { return; }
  if (has(1)) {
    let row = i / param(1);
    let base = x[first(2) + row * 2 + 1] * padded(param(1));
    d[first(1) + i] *= dropped(2, x[first(2) + row * 2], base + i % param(1));
  } else {
    let value = vec4f(bitcast<f32>(x[first(2) + i]));
    d[first(1) + i] *= (normal_cdf(value) + value * 0.39894228040143268 * bell(value)).x;
  }
}
