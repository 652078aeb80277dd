import { FOREIGN } from './foreign-store.ts'
import type { MountStatus } from './mount-status.ts'
import { countText, sizeText } from './terminal.ts'

/** A page is for people. */
const MAX_WITHHELD = 10

/** The status of a mount for people, a fact or two a line. */
export function statusPage(status: MountStatus): string[] {
  const rows: [string, string][] = [
    ['store', status.store],
    ['state', stateText(status)],
  ]
  if (status.partial !== FOREIGN) {
    rows.push(['engine', engineText(status)])
    rows.push(...status.lost.map((line): [string, string] => ['', line]))
  }
  if (status.partial === undefined) {
    rows.push(
      ['gate', `${status.gate.open ? 'open' : 'closed'} by ${status.gate.by}`],
      ['root', rootText(status)],
      ['dirty', dirtyText(status)],
      ...withheldRows(status),
      ['tree', treeText(status)],
      ['on disk', diskText(status)],
      [
        'fetched',
        `${sizeText(status.hydrate.bytes)}, ${countText(status.hydrate.errors, 'error')}`,
      ],
      ['network', networkText(status)],
    )
  }
  return [status.mountpoint, ...rows.map(([name, text]) => `  ${name.padEnd(9)}${text}`)]
}

function stateText({ state, engine, pid, keeperPid, restarts, partial }: MountStatus): string {
  if (state === 'stale') {
    const server = engine === 'native' ? 'keeper' : 'daemon'
    return `stale: its ${server} is dead; \`modelcache mount\` repairs it`
  }
  if (keeperPid === 0) {
    return partial === undefined ? state : `${state}: ${partial}`
  }
  const processes =
    engine === 'native' ? `keeper ${keeperPid}, daemon ${pid}` : `daemon ${keeperPid}`
  const again = restarts === 0 ? '' : `, restarted ${countText(restarts, 'time')}`
  return `${state} (${processes}${again})${partial === undefined ? '' : `; ${partial}`}`
}

/** The engine, and whether the kernel passes reads and writes through where it could. */
export function engineText({ engine, passthrough }: MountStatus): string {
  if (engine !== 'native') {
    return engine
  }
  return `${engine}, passthrough ${passthrough.active ? 'on' : `off (${passthrough.reason})`}`
}

function rootText({ root }: MountStatus): string {
  return root.cid === '' ? 'none yet' : `${root.cid}, committed ${root.committedAt}`
}

function dirtyText({ dirty }: MountStatus): string {
  if (dirty.files === 0) {
    return `nothing${dirty.open === 0 ? '' : `; ${dirty.open} open for writing`}`
  }
  return (
    `${countText(dirty.files, 'file')}, ${sizeText(dirty.bytes)}, for ${dirty.oldestSeconds} s; ` +
    `${dirty.open} open for writing`
  )
}

/** What never leaves this machine under these names, and nobody asked for that by name. */
function withheldRows({ withheld }: MountStatus): [string, string][] {
  const shown = withheld.slice(0, MAX_WITHHELD)
  const rows = shown.map(({ path, reason }, index): [string, string] => [
    index === 0 ? 'withheld' : '',
    `${path}: ${reason}`,
  ])
  const more = withheld.length - shown.length
  return more === 0 ? rows : [...rows, ['', `and ${more} more; --json lists them`]]
}

function treeText({ tree }: MountStatus): string {
  const { placeholders, unlistedDirectories } = tree
  const missing = [
    ...(placeholders === 0
      ? []
      : [`${sizeText(tree.missingBytes)} in ${countText(placeholders, 'file')} still remote`]),
    ...(unlistedDirectories === 0
      ? []
      : [
          `${countText(unlistedDirectories, 'directory', 'directories')} not listed yet, with all in ` +
            `${unlistedDirectories === 1 ? 'it' : 'them'} remote and not counted`,
        ]),
  ]
  return (
    `${countText(tree.files, 'file')}, ${sizeText(tree.bytes)}; ` +
    (missing.length === 0 ? 'all of it here' : missing.join('; '))
  )
}

function diskText({ store_usage: usage }: MountStatus): string {
  return (
    `${sizeText(usage.treeBytes)} files, ${sizeText(usage.blockBytes)} blocks, ` +
    `${sizeText(usage.indexBytes)} index`
  )
}

function networkText({ network }: MountStatus): string {
  const peers = countText(network.peers, 'peer')
  return network.listening.length === 0
    ? `${peers}, not listening`
    : `${peers}, listening on ${network.listening.join(', ')}`
}
