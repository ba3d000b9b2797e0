// adamw.wgsl - the step of fm_adamw. squares is the square of the gradients' norm; where it is not finite, as its bits
// tell, nothing is changed.
// params: elements, clip, beta1, beta2, epsilon, step size, root, decay (core/ops/cpu/kernels.h), what undoes the scale
// of gradients and norm.
@group(0) @binding(1) var<storage, read_write> p: array<f32>;
@group(0) @binding(2) var<storage, read_write> m: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read> g: array<f32>;
@group(0) @binding(5) var<storage, read> squares: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let i = group(here) * 256 + thread;
  let bits = squares[first(5)];
  if (i >= param(0) || (bits & 0x7f800000) == 0x7f800000) { return; }
  var gain = number(8);
  if (number(1) > 0) { gain *= min(1, number(1) / (sqrt(bitcast<f32>(bits)) * number(8) + 1e-6)); }
  let gradient = g[first(4) + i] * gain;
  let mean = m[first(2) + i] + (gradient - m[first(2) + i]) * (1 - number(2));
  let square = v[first(3) + i] * number(3) + gradient * gradient * (1 - number(3));
  m[first(2) + i] = mean;
  v[first(3) + i] = square;
  p[first(1) + i] = p[first(1) + i] * number(7) - number(5) * (mean / (sqrt(square) * number(6) + number(4)));
}
