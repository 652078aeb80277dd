import type { Change } from './engine.ts'
import { asMessage, protocolError } from './frames.ts'
import { decodeArray, decodeInodeId, decodeName, decodeStamp } from './wire.ts'

/** The items of a `changed` event, in their order. Throws on a kind that version 1 has not. */
export function decodeChanges(items: unknown): Change[] {
  return decodeArray(items, 'changed.items').map(decodeChange)
}

function decodeChange(value: unknown): Change {
  const item = asMessage(value, 'changed.items[]')
  const id = decodeInodeId(item)
  switch (item.k) {
    case 'dirty':
      return { kind: 'dirty', id }
    case 'stamp':
      return {
        kind: 'stamp',
        id,
        old: decodeStamp(item.old, 'stamp.old'),
        next: decodeStamp(item.new, 'stamp.new'),
      }
    case 'final':
      return {
        kind: 'final',
        id,
        path: decodeName(item.path, 'final.path'),
        by: item.by === 'name' ? 'name' : 'writer',
      }
    case 'gone':
      return { kind: 'gone', id }
    default:
      throw protocolError(`a change is of the kind ${JSON.stringify(item.k)}`)
  }
}
