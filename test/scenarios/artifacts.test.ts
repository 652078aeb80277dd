import { testScenarios } from './scenario.ts'

// llama.cpp's cache and scripts, renames and writes of every shape: scenarios 25, 27 to 32,
// and the unmodified package, replayed: 36.
testScenarios([
  { name: 's25_llamacpp_link' },
  { name: 's27_gguf_tofile' },
  { name: 's28_convert_models' },
  { name: 's29_update_script' },
  { name: 's30_pyc' },
  { name: 's31_rename_matrix' },
  { name: 's32_write_shapes' },
  { name: 's36_unmodified_run', elsewhere: true },
])
