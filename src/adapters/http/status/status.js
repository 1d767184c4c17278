/** Refreshes the live parts of the status page. Without this script the page is complete, but does not change. */

/** The intervals of the refresh, with running downloads and without. */
const INTERVAL_MS = { busy: 1000, calm: 5000 };
/** The longest interval: it doubles while the service does not answer. */
const MAX_INTERVAL_MS = 60_000;
const TIMEOUT_MS = 5000;

const button = /** @type {HTMLButtonElement} */ (document.getElementById('pause'));
const message = /** @type {HTMLElement} */ (document.getElementById('updates'));

/** @type {number | undefined} */
let timer;
let failures = 0;
let isPaused = false;
let isAsking = false;

function schedule() {
  clearTimeout(timer);
  timer = undefined;
  if (isPaused || isAsking || document.hidden) return;
  const interval = document.querySelector('progress') === null ? INTERVAL_MS.calm : INTERVAL_MS.busy;
  timer = setTimeout(() => void refresh(), Math.min(interval * 2 ** failures, MAX_INTERVAL_MS));
}

/** Schedules the next refresh; a page that becomes visible is refreshed at once. */
function proceed() {
  if (isPaused || isAsking || document.hidden) schedule();
  else void refresh();
}

async function refresh() {
  isAsking = true;
  try {
    // The refresh keeps the filter of the packages, and repeats no question for an explanation.
    const query = new URLSearchParams(location.search);
    for (const name of ['digest', 'repository', 'path']) query.delete(name);
    const answer = await fetch(`${location.pathname}${query.size === 0 ? '' : `?${query.toString()}`}`, {
      headers: { accept: 'text/html' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(`status ${String(answer.status)}`);
    const text = await answer.text();
    if (!isPaused) show(new DOMParser().parseFromString(text, 'text/html'));
    if (failures > 0) message.textContent = '';
    failures = 0;
  } catch {
    failures++;
    message.textContent = 'The service does not answer; what you see is old. Trying again.';
  }
  isAsking = false;
  schedule();
}

/** @param {Document} fresh */
function show(fresh) {
  const focused = document.activeElement;
  for (const part of document.querySelectorAll('[data-live]')) {
    const next = fresh.getElementById(part.id);
    if (next !== null) become(part, next);
  }
  // A row that has moved loses the focus.
  if (focused instanceof HTMLElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/**
 * Changes as little as possible: selection, scroll position and focus stay.
 * @param {Element} element
 * @param {Element} next
 */
function become(element, next) {
  for (const { name } of [...element.attributes]) {
    // The reader has opened this element, and the service does not know that.
    if (name !== 'open' && !next.hasAttribute(name)) element.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  let place = element.firstChild;
  for (const wanted of [...next.childNodes]) {
    const found = counterpart(element, place, wanted);
    if (found === undefined) {
      element.insertBefore(wanted, place);
      continue;
    }
    if (found !== place) element.insertBefore(found, place);
    if (found instanceof Element && wanted instanceof Element) become(found, wanted);
    else if (found.nodeValue !== wanted.nodeValue) found.nodeValue = wanted.nodeValue;
    place = found.nextSibling;
  }
  while (place !== null) {
    const surplus = place;
    place = place.nextSibling;
    surplus.remove();
  }
}

/**
 * Returns the child with the id of `wanted`, or the child at its place.
 * @param {Element} parent
 * @param {ChildNode | null} place
 * @param {ChildNode} wanted
 * @returns {ChildNode | undefined}
 */
function counterpart(parent, place, wanted) {
  const id = idOf(wanted);
  if (id !== '') return [...parent.children].find((child) => child.id === id);
  return place !== null && place.nodeName === wanted.nodeName && idOf(place) === '' ? place : undefined;
}

/** @param {ChildNode} node */
function idOf(node) {
  return node instanceof Element ? node.id : '';
}

button.addEventListener('click', () => {
  isPaused = !isPaused;
  button.textContent = isPaused ? 'Resume updates' : 'Pause updates';
  proceed();
});
document.addEventListener('visibilitychange', proceed);
button.hidden = false;
// The focus moves after the load, because the browser removes it while it scrolls to the fragment of the form.
addEventListener('load', () => {
  /** @type {HTMLElement | null} */ (document.querySelector('[aria-invalid]'))?.focus();
});
schedule();
