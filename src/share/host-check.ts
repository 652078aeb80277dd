/**
 * True where a Host header names this machine's loopback. Another name means that a web page had
 * its own host name resolve to 127.0.0.1 (DNS rebinding) to read through somebody's browser.
 */
export function isLoopbackHost(host: string | undefined): boolean {
  const name = /^(.*?)(?::\d{1,5})?$/.exec(host?.toLowerCase() ?? '')?.[1] ?? ''
  return name === 'localhost' || name === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(name)
}
