import { type Environment, homeDirectory, isWithin, xdgDirectory } from '../config/index.ts'

/**
 * Where each client keeps what it downloads, below the mountpoint; the default of the client is
 * told beside it. HF_HOME is the mountpoint itself, so that a plain `HF_HOME=DIR` finds the same.
 */
const PLACES: Readonly<Record<string, string>> = {
  // $XDG_CACHE_HOME/huggingface
  HF_HOME: '',
  // $HF_HOME/hub; set because a value that the caller has would win over HF_HOME
  HF_HUB_CACHE: 'hub',
  // $XDG_CACHE_HOME/torch
  TORCH_HOME: 'torch',
  // ~/.ollama/models
  OLLAMA_MODELS: 'ollama',
  // ~/.local/share/tts; Coqui appends `tts` by itself
  TTS_HOME: '',
  // ~/.cache/kagglehub
  KAGGLEHUB_CACHE: 'kagglehub',
  // ~/.cache/ipfs_accelerate, ~/.cache/ipfs_kit and the working directory (ipfs_accelerate_py)
  IPFS_ACCELERATE_CACHE_DIR: 'ipfs_accelerate',
  IPFS_KIT_CACHE_DIR: 'ipfs_kit',
  IPFS_ACCELERATE_LLAMA_CPP_MODEL_CACHE_DIR: 'llama_cpp',
  MODEL_MANAGER_DB_PATH: 'model_manager.duckdb',
  MODEL_MANAGER_JSON_PATH: 'model_metadata.json',
}

/**
 * Variables that follow HF_HOME or HF_HUB_CACHE when they are unset, and lead past the mount when
 * the caller has set them. Only then are they set.
 */
const PLACES_IF_SET: Readonly<Record<string, string>> = {
  HUGGINGFACE_HUB_CACHE: 'hub',
  TRANSFORMERS_CACHE: 'hub',
  PYTORCH_TRANSFORMERS_CACHE: 'hub',
  PYTORCH_PRETRAINED_BERT_CACHE: 'hub',
  SENTENCE_TRANSFORMERS_HOME: 'hub',
  HF_ASSETS_CACHE: 'assets',
  HUGGINGFACE_ASSETS_CACHE: 'assets',
  HF_DATASETS_CACHE: 'datasets',
  HF_DATASETS_DOWNLOADED_DATASETS_PATH: 'datasets/downloads',
  HF_DATASETS_EXTRACTED_DATASETS_PATH: 'datasets/downloads/extracted',
  LLAMA_CACHE: 'llama',
}

/**
 * What stays where it was, below the caller's own HF_HOME: the secret, the chunk cache of the
 * transfer library (churn, logs, every byte twice), and code that is loaded and run.
 */
const STAYS: Readonly<Record<string, string>> = {
  HF_TOKEN_PATH: 'token',
  HF_XET_CACHE: 'xet',
  HF_MODULES_CACHE: 'modules',
  KERNELS_CACHE: 'hub',
}

/**
 * Upstream's own half-built IPFS layer stays out of the way: with it, caches are lost at restart
 * and `from_pretrained` is led past HF_HOME. The mount does what it promised.
 */
const UPSTREAM_SWITCHES: Readonly<Record<string, string>> = {
  IPFS_KIT_DISABLE: '1',
  STORAGE_FORCE_LOCAL: '1',
  TRANSFORMERS_PATCH_DISABLE: '1',
  IPFS_FALLBACK_ENABLED: '0',
}

/**
 * The variables that send every client into the mount, and only what must not go there elsewhere.
 *
 * @param mountpoint - absolute
 * @param caller - the environment that they are added to
 * @returns what to set; nothing needs to be unset
 */
export function clientEnvironment(mountpoint: string, caller: Environment): Record<string, string> {
  const result: Record<string, string> = {}
  for (const [name, place] of Object.entries(PLACES)) {
    result[name] = below(mountpoint, place)
  }
  for (const [name, place] of Object.entries(PLACES_IF_SET)) {
    if (caller[name]) {
      result[name] = below(mountpoint, place)
    }
  }
  const before = hubHomeBefore(mountpoint, caller)
  for (const [name, place] of Object.entries(STAYS)) {
    const own = expandHome(caller[name], caller)
    result[name] = own && !isWithin(own, mountpoint) ? own : below(before, place)
  }
  return { ...result, ...UPSTREAM_SWITCHES }
}

/**
 * The HF_HOME that the caller had before the mount: where it leads into the mount already, the
 * default one.
 */
function hubHomeBefore(mountpoint: string, caller: Environment): string {
  const own = expandHome(caller.HF_HOME, caller)
  if (own?.startsWith('/') && !isWithin(own, mountpoint)) {
    return own
  }
  const cache = xdgDirectory(caller, 'XDG_CACHE_HOME', '.cache')
  return isWithin(cache, mountpoint)
    ? `${homeDirectory(caller)}/.cache/huggingface`
    : `${cache}/huggingface`
}

/** huggingface_hub expands a leading `~` in these variables; so must who looks for the same. */
function expandHome(value: string | undefined, caller: Environment): string | undefined {
  return value?.startsWith('~/') ? `${homeDirectory(caller)}${value.slice(1)}` : value
}

function below(directory: string, place: string): string {
  return place === '' ? directory : `${directory}/${place}`
}
