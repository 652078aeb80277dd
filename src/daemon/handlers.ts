import type { Change, EngineHandlers } from '../mount/index.ts'
import type { Services } from './services.ts'
import { cidOfSubject } from './tree-cids.ts'

/** The answers to the engine, and where its news go. */
export function createHandlers(
  services: Services,
  drain: (reason: string, unmounted: boolean) => void,
): EngineHandlers {
  const { hydrator, orphans, queue, settler } = services
  const take = (change: Change, sequence: number) => {
    switch (change.kind) {
      case 'dirty':
        settler.dirty(change.id, sequence)
        break
      case 'stamp':
        settler.renew(change.id, change.old, change.next)
        break
      case 'final':
        // A name that is no UTF-8 never enters a root, so it is never settled.
        if (typeof change.path === 'string') {
          queue.hint(change.path, change.id, change.by)
        }
        break
      case 'gone':
        queue.forget(change.id)
        orphans.gone(change.id, sequence)
        break
    }
  }
  return {
    list: ({ path, id, at }) => hydrator.list(path, id, { at }),
    fill: ({ path, id, at }, offset, lengthBytes) =>
      hydrator.fill(path, id, offset, lengthBytes, { at }),
    detach: (id) => hydrator.detach(id),
    cid: (subject) => cidOfSubject(subject, services),
    changed: (changes, sequence) => {
      for (const change of changes) {
        take(change, sequence)
      }
    },
    broken: (lease) => settler.broken(lease),
    drain,
  }
}
