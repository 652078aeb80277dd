import { userInfo } from 'node:os'

/** Environment variables as a program got them; an unset variable is absent or undefined. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * A copy of this process's environment. Nothing else in the project reads it: what a part needs
 * to know of it comes as an option, so that no variable changes behaviour unseen.
 */
export function processEnvironment(): Environment {
  return { ...process.env }
}

/**
 * The user's home as programs see it: `HOME`, or the account's where that is unset.
 *
 * @returns an absolute path
 */
export function homeDirectory(env: Environment): string {
  return env.HOME?.startsWith('/') ? env.HOME : userInfo().homedir
}

/**
 * The folder that the XDG base directory specification gives for a kind of file. A relative value
 * is ignored, as that specification demands.
 *
 * @param variable - such as `XDG_DATA_HOME`
 * @param fallback - below the home, such as `.local/share`
 */
export function xdgDirectory(env: Environment, variable: string, fallback: string): string {
  const value = env[variable]
  return value?.startsWith('/') ? value : `${homeDirectory(env)}/${fallback}`
}
