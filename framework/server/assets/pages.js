// What makes the pages quicker to use. Every page works without it.

const BY_ITSELF = { 'x-by-itself': '1' };

/** Shows how long ago each time was, in its title. */
function nameTimes(root) {
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  const units = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  for (const time of root.querySelectorAll('time[datetime]')) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    const [unit, length] = units.find(([, length]) => Math.abs(seconds) >= length) ?? units[3];
    time.title = `${format.format(Math.round(seconds / length), unit)} (${time.dateTime})`;
  }
}

async function load(address, options = {}) {
  const answer = await fetch(address, { ...options, headers: BY_ITSELF });
  if (answer.redirected && new URL(answer.url).pathname === '/sign-in') throw new Error('signed out');
  return new DOMParser().parseFromString(await answer.text(), 'text/html');
}

function say(text) {
  const status = document.getElementById('status');
  if (status && status.textContent !== text) status.textContent = text;
}

/** Shows the form of the auth method that is chosen, in place of the button that does so. */
function chooseMethods() {
  const form = document.querySelector('form[data-methods]');
  if (!form) return;
  form.querySelector('[data-choose]').hidden = true;
  let newest = 0;
  form.elements.method.addEventListener('change', async () => {
    const mine = ++newest;
    const body = new URLSearchParams(new FormData(form));
    body.set('choose', '1');
    const page = await load(form.dataset.methods, { method: 'POST', body }).catch(() => null);
    if (mine !== newest) return;
    const settings = page?.getElementById('settings');
    if (!settings) return form.querySelector('[data-choose]').click();
    document.getElementById('settings').replaceWith(settings);
    say(`The form of ${form.elements.method.selectedOptions[0].text} is shown.`);
  });
}

/** Returns by what a cell is sorted: numbers and times by their size, everything else as text. */
function sizeOf(cell) {
  const units = { ns: 1, 'µs': 1e3, ms: 1e6, s: 1e9 };
  const [, number, unit] = cell.textContent.trim().match(/^([\d,.]+)(?: (ns|µs|ms|s))?$/) ?? [];
  return number === undefined ? null : Number(number.replaceAll(',', '')) * (units[unit] ?? 1);
}

/** Sorts the rows of a table by a column, as its heading says. */
function sortRows(table, column, order) {
  const body = table.tBodies[0];
  const sign = order === 'descending' ? -1 : 1;
  const compare = (left, right) => {
    const [a, b] = [left.cells[column], right.cells[column]];
    const [x, y] = [sizeOf(a), sizeOf(b)];
    return sign * (x !== null && y !== null ? x - y : a.textContent.trim().localeCompare(b.textContent.trim()));
  };
  body.append(...[...body.rows].sort(compare));
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    if (index === column) cell.setAttribute('aria-sort', order);
    else cell.removeAttribute('aria-sort');
  });
}

/** Makes the headings of tables that are shown as a whole into buttons that sort; the order outlasts a refresh. */
function sortTables(root) {
  for (const table of root.querySelectorAll('table[data-sort]')) {
    const part = table.parentElement;
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (cell.querySelector('.hidden')) return;
      const button = document.createElement('button');
      button.className = 'sort';
      button.type = 'button';
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener('click', () => {
        const order = cell.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
        part.sorted = [column, order];
        sortRows(table, column, order);
      });
    });
    if (part.sorted) sortRows(table, ...part.sorted);
  }
}

/** Loads the parts of a page that change again and again, unless they are paused, not looked at, or have the focus. */
function keepCurrent() {
  if (!document.querySelector('[data-live]')) return;
  const button = document.querySelector('button[data-pause]');
  let paused = false;
  if (button) {
    button.hidden = false;
    button.addEventListener('click', () => {
      paused = !paused;
      button.setAttribute('aria-pressed', String(paused));
    });
  }
  const refresh = async () => {
    if (paused || document.hidden) return;
    let page;
    try {
      page = await load(location.href);
    } catch {
      say('The server does not answer; what is shown may be old.');
      return;
    }
    const selection = document.getSelection();
    for (const part of document.querySelectorAll('[data-live]')) {
      const fresh = page.getElementById(part.id);
      const isRead = part.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(part, true));
      if (!fresh || isRead || fresh.innerHTML === part.shown) continue;
      part.shown = fresh.innerHTML;
      part.innerHTML = fresh.innerHTML;
      nameTimes(part);
      sortTables(part);
    }
  };
  setInterval(refresh, 5000);
}

/** Puts a text on the clipboard. */
function copyTexts() {
  for (const button of document.querySelectorAll('button[data-copy]')) {
    button.hidden = !navigator.clipboard;
    button.addEventListener('click', async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      say('Copied.');
    });
  }
}

/** Follows a log: new lines come at the end, and are counted in one sentence. */
function followLogs() {
  const log = document.querySelector('[data-follow]');
  const button = document.querySelector('button[data-follow-button]');
  if (!log || !button) return;
  button.hidden = false;
  let source = null;
  const follow = () => {
    source = new EventSource(log.dataset.follow);
    source.onmessage = (event) => {
      const record = JSON.parse(event.data);
      const line = document.createElement('div');
      line.className = record.level;
      line.textContent = `${record.time} ${record.level} ${record.channel}: ${record.message}`;
      if (record.task) {
        for (const [text, path] of [[`task ${record.task}`, ''], ['replay…', '/replay']]) {
          const link = document.createElement('a');
          link.href = `/tasks/${record.task}${path}`;
          link.textContent = text;
          line.append(' ', link);
        }
      }
      log.append(line);
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (!log.contains(document.activeElement)) line.scrollIntoView({ block: 'nearest' });
    };
    source.onerror = () => {
      const ended = source?.readyState === EventSource.CLOSED;
      say(ended ? 'The log is not followed any more: load the page again.' : 'The log cannot be followed just now; it is tried again.');
      if (ended) stop();
    };
    source.onopen = () => say('New lines are shown as they come.');
  };
  const stop = () => {
    source.close();
    source = null;
    button.setAttribute('aria-pressed', 'false');
  };
  button.addEventListener('click', () => {
    if (source) {
      stop();
      say('New lines are not shown any more.');
      return;
    }
    follow();
    button.setAttribute('aria-pressed', 'true');
  });
}

/** Goes to the search field with `/`. */
function searchByKey() {
  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input, textarea, select');
    const field = document.querySelector('input[type=search]');
    if (event.key !== '/' || typing || !field || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.focus();
  });
}

/** Says in time that a session ends. */
function warnBeforeTheEnd() {
  const idle = Number(document.body.dataset.idle);
  if (!idle) return;
  setTimeout(() => say('You will be signed out in two minutes: load a page to stay.'), Math.max(idle - 120, 1) * 1000);
}

nameTimes(document);
sortTables(document);
chooseMethods();
keepCurrent();
copyTexts();
followLogs();
searchByKey();
warnBeforeTheEnd();
