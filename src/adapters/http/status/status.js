/** Keeps the live parts of the status page fresh. Without it the page is whole and stands still. */

/** While something arrives, and while nothing does. */
const INTERVAL_MS = { busy: 1000, calm: 5000 };
/** A service that does not answer is asked less and less often, down to this. */
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

/** A page that is shown again is loaded anew. */
function proceed() {
  if (isPaused || isAsking || document.hidden) schedule();
  else void refresh();
}

async function refresh() {
  isAsking = true;
  try {
    // What was asked to be explained is not asked again; the filter of the packages is.
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
  // A row that has moved loses it.
  if (focused instanceof HTMLElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/**
 * Changes as little as possible: selection, scroll position and focus stay.
 * @param {Element} element
 * @param {Element} next
 */
function become(element, next) {
  for (const { name } of [...element.attributes]) {
    // A person opens what is folded.
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
 * A child by its id, or else the one that stands in its place.
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
// Not before: on its way to the fragment, which leads to the form, the browser takes the focus away again.
addEventListener('load', () => {
  /** @type {HTMLElement | null} */ (document.querySelector('[aria-invalid]'))?.focus();
});
schedule();
