// Where the rows of a long list are.

/** The top of each row, in the unit of the heights, and behind them the height of all. */
export function offsetsOf<T>(rows: readonly T[], height: (row: T) => number): Float64Array {
  const offsets = new Float64Array(rows.length + 1)
  for (let index = 0; index < rows.length; index += 1) offsets[index + 1] = offsets[index]! + height(rows[index]!)
  return offsets
}

/** Which row is there: the last one whose top is not below; the first one for what is above all. */
export function rowAt(offsets: Float64Array, position: number): number {
  let low = 0
  let high = Math.max(0, offsets.length - 2)
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (offsets[middle]! <= position) low = middle
    else high = middle - 1
  }
  return low
}
