/** Lines of a text that someone edits. */

/** Select a line, from 1, and scroll to it. @param {HTMLTextAreaElement} area @param {number} line */
export function selectLine(area, line) {
  const lines = area.value.split("\n");
  const begin = lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0);
  area.focus();
  area.setSelectionRange(begin, begin + (lines[line - 1]?.length ?? 0));
  area.scrollTop = area.scrollHeight * Math.max(0, (line - 3) / lines.length);
}
