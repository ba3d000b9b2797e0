# kernels.cmake - the GPU's kernels as one C string: each text without comments and indentation, in the order of enum
# gpu_kernel (core/ops/webgpu/webgpu.h), after one that goes before all of them; "//" alone in a line stands between. A
# kernel may be of several files.
set(names common epilogue+product_blocks+product epilogue+product_sum embedding layer_norm heads+attention rows loss
  embedding_backward layer_norm_backward column_sums elements heads+heads_backward+attention_backward_q
  heads+heads_backward+attention_backward_kv squares adamw epilogue+product_blocks+product_matrices)
set(text "")
foreach(name ${names})
  set(kernel "")
  string(REPLACE + ";" parts ${name})
  foreach(part ${parts})
    set(file ${root}/core/ops/webgpu/${part}.wgsl)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(READ ${file} read)
    string(APPEND kernel "${read}")
  endforeach()
  string(REGEX REPLACE "//[^\n]*" "" kernel "${kernel}")
  string(REGEX REPLACE "\n[\n ]*" "\\\\n\"\n\"" kernel "${kernel}")
  string(APPEND text "\"${kernel}//\\n\"\n")
endforeach()
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/kernels.inc CONTENT "${text}" @ONLY)
