// Sliders that move the latents along directions.

/**
 * Make the sliders work.
 *
 * @param {HTMLElement} section
 * @param {(moves: number[]) => void} onMove how far along each direction; those at the end that are 0 are left out
 * @returns {(moves: number[], disabled: boolean) => void} sets the sliders without calling `onMove`
 */
export function initializeDirections(section, onMove) {
  const sliders = [...section.querySelectorAll("input")];
  const reset = section.querySelector("button");
  for (const slider of sliders) {
    slider.addEventListener("input", () => {
      const moves = sliders.map(({ value }) => Number(value));
      onMove(moves.slice(0, moves.findLastIndex(Boolean) + 1));
    });
  }
  reset.addEventListener("click", () => onMove([]));
  return (moves, disabled) => {
    sliders.forEach((slider, index) => {
      slider.value = moves[index] ?? 0;
      slider.disabled = disabled;
    });
    reset.disabled = disabled || moves.length === 0;
  };
}

/** Latents, moved along each direction by so many standard deviations of random latents. */
export function moved(latents, moves, directions) {
  return latents.map((value, i) => moves.reduce((sum, move, k) => sum + move * directions[k][i], value));
}
