import { testScenarios } from './scenario.ts'

/**
 * By Kubo 0.40.1 with the profile unixfs-v1-2025, on what s09 leaves on a plain directory:
 * `ipfs add -r -Q -H --only-hash saved/bert`
 */
const SAVED_BERT_CID = 'bafybeigkbeg72y7zm5ql7lr2wekjdeyohy5hzdvx2ikcvf3x4374zx755y'

// Downloads, saves and small files: scenarios 1 to 9, 12 to 14, 18 to 22.
testScenarios([
  { name: 's01_bert_makedirs' },
  { name: 's02_hf_download', elsewhere: true },
  { name: 's03_hf_concurrent_download' },
  { name: 's04_hf_resume_old' },
  { name: 's05_hf_refs', elsewhere: true },
  { name: 's06_hf_symlink_probe', prepare: 'hub/models--org--probe' },
  { name: 's07_hf_safetensors_load' },
  { name: 's08_torch_zip_load' },
  {
    name: 's09_save_pretrained',
    elsewhere: true,
    golden: { path: 'saved/bert', cid: SAVED_BERT_CID },
  },
  { name: 's12_remove_dir' },
  { name: 's13_lm_walk' },
  { name: 's14_empty_dir', elsewhere: true },
  { name: 's18_coreml_mlpackage', elsewhere: true },
  { name: 's19_qualcomm_bundle' },
  { name: 's20_tempfile_trio' },
  { name: 's21_base_cache', restarts: 1 },
  { name: 's22_model_manager_json', elsewhere: true, restarts: 2 },
  // Not upstream's: the default download path of huggingface_hub, at the level of system calls.
  { name: 'x01_two_handles' },
])
