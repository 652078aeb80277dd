import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { has, type Mount, modelcacheOk, tempDir, withMount } from '../support/index.ts'
import { assertClaims, assertSameFacts, runPhase } from './drive.ts'

interface Scenario {
  name: string
  /** Looked at from a second mount too. */
  elsewhere?: boolean
  /** A directory that is there, and committed, before; the scenario must publish nothing. */
  prepare?: string
  /** How often the scenario has the daemon killed. */
  restarts?: number
  /** What Kubo calls a directory that the scenario leaves. */
  golden?: { path: string; cid: string }
}

/**
 * By Kubo 0.40.1 with the profile unixfs-v1-2025, on what s09 leaves on a plain directory:
 * `ipfs add -r -Q -H --only-hash saved/bert`
 */
const SAVED_BERT_CID = 'bafybeigkbeg72y7zm5ql7lr2wekjdeyohy5hzdvx2ikcvf3x4374zx755y'

/**
 * Scenarios of what upstream components do to their cache directory, each run on a plain directory,
 * which is the oracle, and then on a mount; looked at again after unmount and mount; and those
 * marked `elsewhere` also from a second mount, with an empty store, that opens the first one's root.
 */
const SCENARIOS: Scenario[] = [
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
]

for (const scenario of SCENARIOS) {
  test(scenario.name, async (t) => {
    if (!has(t, 'fuse', 'python')) return
    const { name } = scenario
    const base = tempDir(t)
    const plain = join(base, 'plain')
    const place = scenario.prepare ?? ''
    mkdirSync(join(plain, place), { recursive: true })
    const oracle = {
      run: await runPhase(name, 'run', plain, join(base, 'a'), nothing),
      check: await runPhase(name, 'check', plain, join(base, 'a'), nothing),
      second: await runPhase(name, 'second', plain, join(base, 'a'), nothing),
    }

    const mount = await withMount(t)
    const root = mount.mountpoint
    mkdirSync(join(root, place), { recursive: true })
    const before = scenario.prepare === undefined ? undefined : await mount.commitAll()
    const onPause = (what: string) => actOn(mount, what)
    const run = await runPhase(name, 'run', root, join(base, 'b'), onPause)
    assertSameFacts(name, oracle.run, run)
    assertClaims(name, run)
    if (before !== undefined) {
      assert.equal((await mount.commitAll()).tree, before.tree, 'something was published')
    }
    if (scenario.restarts !== undefined) {
      assert.equal((await mount.status()).restarts, scenario.restarts, 'restarts of the daemon')
    }

    if (scenario.golden !== undefined) {
      await mount.commitAll()
      const { path, cid } = scenario.golden
      const args = ['cid', join(root, path)]
      assert.equal(await modelcacheOk(args, { env: mount.env }), cid, "Kubo's CID")
    }

    await mount.unmount()
    await mount.mount()
    const check = await runPhase(name, 'check', root, join(base, 'b'), nothing)
    assertSameFacts(`${name} after unmount and mount`, oracle.check, check)
    assertClaims(`${name} after unmount and mount`, check)

    if (scenario.elsewhere !== true) return
    const other = await openElsewhere(t, mount)
    const second = await runPhase(name, 'second', other.mountpoint, join(base, 'c'), nothing)
    assertSameFacts(`${name} on a second mount`, oracle.second, second)
    assertClaims(`${name} on a second mount`, second)
  })
}

async function nothing(): Promise<void> {}

async function actOn(mount: Mount, what: string): Promise<void> {
  if (what === 'kill-daemon') await mount.killDaemon()
  else if (what === 'commit') await mount.commit()
  else throw new Error(`unknown pause ${what}`)
}

async function openElsewhere(t: TestContext, mount: Mount): Promise<Mount> {
  const { root } = await mount.commitAll()
  const { address } = await mount.share()
  return withMount(t, { args: ['--from', root, '--peer', address] })
}
