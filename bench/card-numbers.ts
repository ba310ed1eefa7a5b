// Card numbers that do not exist, by the million: a test BIN, nine digits that count, and the check digit.

const BIN = '411111'
const COUNTED_DIGITS = 9
export const NUMBER_DIGITS = BIN.length + COUNTED_DIGITS + 1

/** What digits of the BIN add to the check sum. In a number of 16 digits every other one, from the first, counts twice. */
const BIN_SUM = luhnSum([...BIN].map(Number), 0)

/** Passes Luhn; another one for each number below a thousand million. */
export function cardNumber(n: number): string {
  const counted = String(n).padStart(COUNTED_DIGITS, '0')
  const sum = BIN_SUM + luhnSum([...counted].map(Number), BIN.length)
  return `${BIN}${counted}${(10 - (sum % 10)) % 10}`
}

function luhnSum(digits: readonly number[], firstPlace: number): number {
  let sum = 0
  for (const [i, digit] of digits.entries()) {
    const weighed = (firstPlace + i) % 2 === 0 ? digit * 2 : digit
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return sum
}
