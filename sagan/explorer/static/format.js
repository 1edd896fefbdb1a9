// Numbers for people: three significant digits and a proper minus sign.

/** 1234.5 -> "1,235", 0.1234 -> "0.123", 0.00012 -> "1.2e-4". */
export function formatNumber(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text = String(Number(size.toPrecision(3)));
  if (size >= 1000) text = Math.round(size).toLocaleString("en");
  else if (size < 0.001) text = size.toExponential(1);
  return (value < 0 ? "\u2212" : "") + text;
}
