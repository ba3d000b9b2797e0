// drop.js - a file that is chosen by a button, or dropped onto a tab.

/**
 * @param {HTMLElement} area
 * @param {HTMLInputElement} input
 * @param {(file: File) => void} open
 */
export function droppable(area, input, open) {
  input.addEventListener('change', () => input.files?.[0] && open(input.files[0]));
  let inside = 0; // how many of the nested elements the file was dragged into
  const mark = () => area.classList.toggle('dropping', inside > 0);
  const hasFile = (event) => event.dataTransfer?.types.includes('Files');
  area.addEventListener('dragenter', (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    inside++;
    mark();
  });
  area.addEventListener('dragleave', (event) => {
    if (!hasFile(event)) return;
    inside = Math.max(0, inside - 1);
    mark();
  });
  area.addEventListener('dragover', (event) => hasFile(event) && event.preventDefault());
  area.addEventListener('drop', (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    inside = 0;
    mark();
    if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
