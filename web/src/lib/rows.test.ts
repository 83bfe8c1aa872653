import { describe, expect, it } from 'vitest'
import { offsetsOf, rowAt } from './rows'

describe('rows', () => {
  const offsets = offsetsOf([10, 0, 20, 5], (height) => height)
  it('have their tops', () => expect([...offsets]).toEqual([0, 10, 10, 30, 35]))
  it.each([
    [-5, 0],
    [0, 0],
    [9.5, 0],
    [10, 2],
    [29, 2],
    [30, 3],
    [1000, 3],
  ])('at %d is row %d', (position, row) => expect(rowAt(offsets, position)).toBe(row))
  it('of nothing is the first', () => expect(rowAt(offsetsOf([], () => 1), 12)).toBe(0))
})
