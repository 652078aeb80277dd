import { LOG_LEVELS, type LogLevel } from '../base/index.ts'

/** The level that `MODELCACHE_LOG` names; another word, or none, is no reason not to serve. */
export function logLevel(text: string | undefined): LogLevel {
  return LOG_LEVELS.find((level) => level === text) ?? 'info'
}
