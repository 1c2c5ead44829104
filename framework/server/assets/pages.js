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
    for (const part of document.querySelectorAll('[data-live]')) {
      const fresh = page.getElementById(part.id);
      if (!fresh || part.contains(document.activeElement) || fresh.innerHTML === part.dataset.shown) continue;
      if (part.innerHTML !== fresh.innerHTML) part.innerHTML = fresh.innerHTML;
      nameTimes(part);
    }
  };
  setInterval(refresh, 5000);
}

/** Marks all rows of a table that can be marked. */
function markAll() {
  for (const all of document.querySelectorAll('input[data-all]')) {
    all.closest('label').hidden = false;
    all.addEventListener('change', () => {
      for (const one of all.form.elements[all.dataset.all] ?? []) one.checked = all.checked;
    });
  }
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
      line.textContent = `${record.time} ${record.level.toUpperCase().padEnd(5)} ${record.message}`;
      log.append(line);
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (!log.contains(document.activeElement)) line.scrollIntoView({ block: 'nearest' });
    };
    source.onerror = () => say('The log cannot be followed just now; it is tried again.');
    source.onopen = () => say('New lines are shown as they come.');
  };
  button.addEventListener('click', () => {
    if (source) {
      source.close();
      source = null;
      say('New lines are not shown any more.');
    } else {
      follow();
    }
    button.setAttribute('aria-pressed', String(source !== null));
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
chooseMethods();
keepCurrent();
markAll();
copyTexts();
followLogs();
searchByKey();
warnBeforeTheEnd();
