// Where moments lie on a line of that width: the oldest at its beginning, the newest at its end. One alone lies at the end. Pure.
export function place(moments: readonly number[], width: number): number[] {
  const [from, to] = [Math.min(...moments), Math.max(...moments)];
  return moments.map((at) => (to === from ? width : ((at - from) / (to - from)) * width));
}
