// Words of the trade, explained where one points at them, focuses or taps them.

const GAP = 8; // pixels between a term and its explanation

/** Make every element with data-term explain itself, also those that are added later. */
export function initializeTerms(box) {
  let shown = null;

  function show(element) {
    shown = element;
    box.textContent = document.querySelector(`#term-${element.dataset.term}`).textContent;
    box.hidden = false;
    const term = element.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = box;
    const below = term.bottom + GAP + height <= innerHeight;
    box.style.left = `${Math.max(GAP, Math.min(term.left, document.documentElement.clientWidth - width - GAP))}px`;
    box.style.top = `${below ? term.bottom + GAP : term.top - GAP - height}px`;
  }

  function hide() {
    shown = null;
    box.hidden = true;
  }

  /** The term of an event's target: itself, or the label of the control that has the focus. */
  function termOf({ type, target }) {
    if (!(target instanceof Element)) return null;
    const label = type === "focusin" && target.matches(":focus-visible") ? target.labels?.[0] : null;
    return (label ?? target).closest("[data-term]");
  }

  for (const type of ["pointerover", "focusin", "click"]) {
    document.addEventListener(type, (event) => {
      const element = termOf(event);
      if (element) show(element);
      else if (type !== "pointerover" || (shown && shown !== document.activeElement && !box.contains(event.target))) hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape") hide();
  });
  addEventListener("scroll", hide, { passive: true, capture: true });
}

/** A term as the page's templates make it. */
export function termButton(term, text) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "term", textContent: text });
  button.dataset.term = term;
  button.setAttribute("aria-describedby", `term-${term}`);
  return button;
}
