// One of several options, by native elements: arrow keys and screen readers come for free.

/**
 * Fill a fieldset with radio buttons that look like chips.
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

/**
 * The same as one list that opens, for more options than anybody would look through.
 *
 * @param {HTMLFieldSetElement} fieldset
 * @param {{value: string, label: string}[]} options
 * @param {(value: string) => void} chosen
 * @returns {(value: string) => void} selects an option without calling `chosen`
 */
export function fillSelect(fieldset, options, chosen) {
  const select = document.createElement("select");
  select.setAttribute("aria-label", fieldset.querySelector("legend").textContent);
  select.append(...options.map(({ value, label }) => new Option(label, value)));
  select.addEventListener("change", () => chosen(select.value));
  fieldset.querySelector(".chips").replaceChildren(select);
  return (value) => {
    select.value = value;
  };
}
