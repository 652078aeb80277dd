import { createHash } from 'node:crypto'
import { createIgnoreRules } from './ignore-rules.ts'

/** File, directory, symbolic link, other. */
export type EntryType = 'f' | 'd' | 'l' | 'o'

/** Whether a name belongs into a root. */
export type NameClass = { localOnly: false } | { localOnly: true; secret: boolean; reason: string }

/** Decides on a path relative to the tree; bytes are given where a name is not UTF-8. */
export type NameClassifier = (path: string | Uint8Array, type: EntryType) => NameClass

interface Rule {
  pattern: RegExp
  reason: string
  /** Only names of these types; without it all. */
  types?: readonly EntryType[]
  secret?: boolean
}

const UUID = '[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}'

/** What package managers call the file of exact versions: content of a repository, and no lock. */
const VERSION_LOCKS =
  'Cargo|Gemfile|Package|Pipfile|Podfile|bun|composer|deno|flake|mix|packages|pdm|pixi|poetry|pubspec|pylock|uv|yarn'

/**
 * Names that programs use in passing, matched against every component of a path: what lies in a
 * folder with such a name is as passing as the folder.
 */
const TRANSIENT: readonly Rule[] = [
  {
    pattern: new RegExp(`^(?!(${VERSION_LOCKS})\\.lock$).*\\.lock(\\.soft)?$`, 's'),
    reason: 'lock file',
  },
  { pattern: /\.lock\.break\.\d+\.[0-9a-f]+$/, reason: 'lock file' },
  // hub/.locks: huggingface_hub keeps its lock files in a folder of their own.
  { pattern: /^\.locks$/, reason: 'lock file', types: ['d'] },
  // huggingface_hub, datasets (folders too).
  { pattern: /\.incomplete$/, reason: 'partial download' },
  // git-lfs; torch.hub; ollama; llama.cpp.
  { pattern: /\.part(ial)?$/, reason: 'partial download' },
  { pattern: /-partial(-\d+)?$/, reason: 'partial download' },
  { pattern: /\.downloadInProgress$/, reason: 'partial download' },
  // ollama's os.CreateTemp("sha256-"): its blobs have 64 hex digits there.
  { pattern: /^sha256-\d{1,10}$/, reason: 'partial download' },
  // refs, xet, inductor; transformers.js: .tmp.PID.RANDOM.
  { pattern: /\.tmp(\.\d+\.[0-9a-z.]+)?$/i, reason: 'temporary file' },
  // CPython writes byte code under a name that ends with a number.
  { pattern: /\.pyc\.\d+$/, reason: 'temporary file' },
  // huggingface_hub's probe of the umask.
  { pattern: new RegExp(`^tmp_${UUID}$`), reason: 'probe' },
  // Python's tempfile: mkdtemp, mkstemp, NamedTemporaryFile.
  { pattern: /^tmp[a-z0-9_]{8}$/, reason: 'temporary file', types: ['f', 'd', 'l'] },
  // triton.
  { pattern: /^tmp\.pid_\d+_/, reason: 'temporary file' },
  // Rust's tempfile, as safetensors uses it.
  { pattern: /^\.tmp[A-Za-z0-9]{6}$/, reason: 'temporary file' },
  { pattern: /^\.write_(probe|test)$/, reason: 'probe' },
  { pattern: /^\.modelcache-restore-[0-9a-f]+$/, reason: 'files of `restore`', types: ['d'] },
  // What FUSE and NFS clients make of a file that is unlinked while it is open.
  { pattern: /^\.(fuse_hidden|nfs)[0-9a-f]+$/, reason: 'unlinked file' },
]

/** Names that hold keys wherever they are, matched against every component. */
const SECRET_NAMES: readonly Rule[] = [
  { pattern: /^(\.netrc|_netrc|\.git-credentials|\.pypirc)$/, reason: 'credentials' },
  { pattern: /^\.env(\..+)?$/, reason: 'credentials', types: ['f', 'l'] },
  { pattern: /^id_(rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk)$/, reason: 'private key' },
  { pattern: /\.(key|p12|pfx|kdbx|jks)$/i, reason: 'private key', types: ['f', 'l'] },
  { pattern: /^(\.ssh|\.gnupg|\.aws|\.azure|\.kube)$/, reason: 'credentials', types: ['d'] },
  { pattern: /^kaggle\.json$/, reason: 'credentials' },
  { pattern: /^application_default_credentials\.json$/, reason: 'credentials' },
]

/**
 * Names that are secret only at a place, matched against the whole path. An HF_HOME is the tree
 * itself, or a folder `huggingface`; `token` elsewhere may be anybody's file.
 */
const SECRET_PATHS: readonly Rule[] = [
  { pattern: /^(.*\/)?\.?huggingface\/(token|stored_tokens)$/, reason: 'Hugging Face token' },
  { pattern: /^(token|stored_tokens)$/, reason: 'Hugging Face token', types: ['f', 'l'] },
  { pattern: /^(.*\/)?\.config\/(gcloud|gh)(\/.*)?$/, reason: 'credentials' },
  { pattern: /^(.*\/)?\.docker\/config\.json$/, reason: 'credentials' },
  { pattern: /^(.*\/)?\.config\/(wandb|rclone)(\/.*)?$/, reason: 'credentials' },
  {
    pattern: /^(.*\/)?\.config\/(git\/credentials|containers\/auth\.json)$/,
    reason: 'credentials',
  },
  { pattern: /^(.*\/)?\.cargo\/credentials(\.toml)?$/, reason: 'credentials' },
  { pattern: /^(.*\/)?\.modelscope\/credentials(\/.*)?$/, reason: 'credentials' },
]

/**
 * Working folders of clients, matched against the whole path: hf_xet keeps logs, caches of chunks
 * and half-sent shards in `xet/` of its HF_HOME, some of them in a folder per endpoint.
 */
const WORKING_PATHS: readonly Rule[] = [
  {
    pattern:
      /^(.*\/)?xet\/([^/]+\/)?(logs|chunk[-_]cache|shard[-_]cache|shard[-_]session|staging)(\/.*)?$/,
    reason: 'working folder of hf_xet',
  },
]

/**
 * Creates the one table that says which names stay on this machine: they never enter a root, are
 * never announced or served, and dirty nothing.
 *
 * @param patterns the user's additions, in the syntax of `.gitignore`; they can only add, and what
 *   had such a name is as secret under another one
 */
export function createNameClassifier(patterns: readonly string[] = []): NameClassifier {
  const ignored = createIgnoreRules(patterns)
  return (path, type) => {
    if (typeof path !== 'string' || !path.isWellFormed()) {
      return { localOnly: true, secret: false, reason: 'not UTF-8: UnixFS cannot carry the name' }
    }
    const rule = builtInRule(path, type)
    if (rule !== undefined) {
      return { localOnly: true, secret: rule.secret === true, reason: rule.reason }
    }
    if (type === 'o') {
      return { localOnly: true, secret: false, reason: 'no file, directory or symbolic link' }
    }
    return path !== '' && ignored(path, type === 'd')
      ? { localOnly: true, secret: true, reason: 'excluded by a pattern of the user' }
      : { localOnly: false }
  }
}

/**
 * Names the table with these additions: while it is the same, a name that was in a root belongs
 * there still.
 */
export function nameRulesDigest(patterns: readonly string[] = []): string {
  const builtIn = [SECRET_PATHS, SECRET_NAMES, WORKING_PATHS, TRANSIENT].map((rules) =>
    rules.map(({ pattern, types }) => [pattern.source, pattern.flags, types ?? []]),
  )
  return createHash('sha256')
    .update(JSON.stringify([builtIn, patterns]))
    .digest('hex')
}

/** The table without additions. */
export const classifyName: NameClassifier = createNameClassifier()

function builtInRule(path: string, type: EntryType): Rule | undefined {
  const names = path.split('/')
  const typeAt = (index: number) => (index === names.length - 1 ? type : 'd')
  for (const rule of SECRET_PATHS) {
    if (applies(rule, path, type)) {
      return { ...rule, secret: true }
    }
  }
  for (const rule of SECRET_NAMES) {
    if (names.some((name, index) => applies(rule, name, typeAt(index)))) {
      return { ...rule, secret: true }
    }
  }
  const working = WORKING_PATHS.find((rule) => applies(rule, path, type))
  if (working !== undefined) {
    return working
  }
  return TRANSIENT.find((rule) => names.some((name, index) => applies(rule, name, typeAt(index))))
}

function applies(rule: Rule, text: string, type: EntryType): boolean {
  return (rule.types === undefined || rule.types.includes(type)) && rule.pattern.test(text)
}
