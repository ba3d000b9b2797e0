// squares.wgsl - partial[group] = the sum of x squared over the 16,384 elements of a group; with VARIANT 1 of all x,
// not squared, in one group; infinite with VARIANT 2 if products of f16 have met a number beyond it since the last time.
// params: elements.
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;

#2 @group(0) @binding(3) var<storage, read_write> overflow: array<u32>;
#2 fn infinite_after_overflow() {
#2   if (overflow[0] != 0) { partial[first(1)] = bitcast<f32>(param(0) * 0 + 0x7f800000); }
#2   overflow[0] = 0;
#2 }

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) here: vec3u, @builtin(local_invocation_index) thread: u32) {
  let index = group(here);
  if (index * 16384 >= param(0)) { return; }
  var sum = 0.0;
  let end = select(min(param(0), index * 16384 + 16384), param(0), has(1));
  for (var i = index * 16384 + thread; i < end; i += 256) {
    let value = x[first(2) + i];
    sum += select(value * value, value, has(1));
  }
  sum = sum_of_group(thread, sum);
  if (thread == 0) {
    partial[first(1) + index] = sum;
#2     infinite_after_overflow();
  }
}
