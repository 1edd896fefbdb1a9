// A choice of one option, from native elements: arrow keys and screen readers work by themselves.

/**
 * Fill a fieldset with radio buttons that look like chips.
 *
 * @param {HTMLFieldSetElement} fieldset
 * @param {{value: string, label: string}[]} options
 * @param {(value: string) => void} onChoose
 * @returns {(value: string) => void} checks an option without calling `onChoose`
 */
export function fillChips(fieldset, options, onChoose) {
  const inputs = options.map(({ value, label }) => {
    const input = Object.assign(document.createElement("input"), {
      type: "radio",
      name: fieldset.id,
      value,
    });
    const chip = document.createElement("label");
    const text = Object.assign(document.createElement("span"), { textContent: label });
    chip.append(input, text);
    input.addEventListener("change", () => onChoose(value));
    return { input, chip };
  });
  fieldset.querySelector(".chips").replaceChildren(...inputs.map(({ chip }) => chip));
  return (value) => {
    for (const { input } of inputs) input.checked = input.value === value;
  };
}

/**
 * Fill a fieldset with a drop-down list, for more options than fit on chips.
 *
 * @param {HTMLFieldSetElement} fieldset
 * @param {{value: string, label: string}[]} options
 * @param {(value: string) => void} onChoose
 * @returns {(value: string) => void} selects an option without calling `onChoose`
 */
export function fillSelect(fieldset, options, onChoose) {
  const select = document.createElement("select");
  select.setAttribute("aria-label", fieldset.querySelector("legend").textContent);
  select.append(...options.map(({ value, label }) => new Option(label, value)));
  select.addEventListener("change", () => onChoose(select.value));
  fieldset.querySelector(".chips").replaceChildren(select);
  return (value) => {
    select.value = value;
  };
}
