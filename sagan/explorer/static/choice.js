// A row of native radio buttons that look like chips: arrow keys and screen readers come for free.

/**
 * Fill a fieldset with one chip for each option.
 *
 * @param {HTMLFieldSetElement} fieldset
 * @param {{value: string, label: string}[]} options
 * @param {(value: string) => void} chosen
 * @returns {(value: string) => void} checks an option without calling `chosen`
 */
export function fillChips(fieldset, options, chosen) {
  const inputs = options.map(({ value, label }) => {
    const input = Object.assign(document.createElement("input"), {
      type: "radio",
      name: fieldset.id,
      value,
    });
    const chip = document.createElement("label");
    const text = Object.assign(document.createElement("span"), { textContent: label });
    chip.append(input, text);
    input.addEventListener("change", () => chosen(value));
    return { input, chip };
  });
  fieldset.querySelector(".chips").replaceChildren(...inputs.map(({ chip }) => chip));
  return (value) => {
    for (const { input } of inputs) input.checked = input.value === value;
  };
}
