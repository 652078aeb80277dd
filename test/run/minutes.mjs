// The table at the end of a run: how long each phase took, and what came of it.

/**
 * @param {{ name: string, ms: number }[]} setUp - the steps of set-up, none if it was not run
 * @param {[name: string, ms: number, counts: { passed: number, failed: number, skipped: number }][]} phases -
 *   those that are parts of another are indented
 * @returns {string[]} lines
 */
export function minutesTable(setUp, phases) {
  const parts = setUp.map(({ name, ms }) => line(`  ${name}`, ms))
  const whole = setUp.length === 0 ? [] : [line('set-up', sum(setUp.map(({ ms }) => ms)))]
  const rest = phases.map(([name, ms, { passed, failed, skipped }]) =>
    line(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`, ms),
  )
  const ran = phases.filter(([name]) => !name.startsWith(' ')).map(([, ms]) => ms)
  const all = sum([...setUp.map(({ ms }) => ms), ...ran])
  return [...whole, ...parts, ...rest, line('all of it', all)]
}

function line(text, ms) {
  return `${(ms / 60_000).toFixed(1).padStart(5)}  ${text}`
}

function sum(numbers) {
  return numbers.reduce((one, other) => one + other, 0)
}
