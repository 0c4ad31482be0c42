/* app.js: what the pages do, and the words that account.js shares. A page names itself in <body data-page>. Text of the server
 * only ever becomes textContent, and a token is taken from the address bar at once: it never lands
 * in the history, in a Referer or in anything that the browser stores. */
'use strict';

const API = '/api/v1';
const byId = (id) => document.getElementById(id);

/* While programs sign up in floods, the server asks a browser for some work first: a number whose
 * SHA-256, behind the challenge, begins with so many zero bits. In pieces, so that the page stays
 * alive. null where this browser cannot (Web Crypto wants https). */
async function work() {
    const PIECE = 512;
    const asked = await call('GET', '/auth/work');
    if (!asked.ok || !window.crypto?.subtle) {
        return null;
    }
    const { challenge, bits } = asked.data;
    const text = new TextEncoder();
    for (let start = 0; ; start += PIECE) {
        const digests = await Promise.all(Array.from({ length: PIECE }, (_, i) =>
            crypto.subtle.digest('SHA-256', text.encode(`${challenge}.${start + i}`))));
        const found = digests.findIndex((digest) =>
            new DataView(digest).getUint32(0) >>> (32 - bits) === 0);
        if (found >= 0) {
            return `${challenge}.${start + found}`;
        }
    }
}

/* {ok, status, data} or {ok: false, status, code, message}; never throws. */
async function call(method, path, body) {
    const answer = await callOnce(method, path, body);
    const done = answer.code === 'WORK_REQUIRED' ? await work() : null;
    return done === null ? answer : callOnce(method, path, { ...body, work: done });
}

async function callOnce(method, path, body) {
    try {
        const options = { method, cache: 'no-store', credentials: 'same-origin', headers: {} };
        if (body !== undefined) {
            options.headers['Content-Type'] = 'application/json';
            options.body = JSON.stringify(body);
        }
        const response = await fetch(API + path, options);
        const answer = await response.json();
        if (answer.success === true) {
            return { ok: true, status: response.status, data: answer.data };
        }
        const wait = Number(response.headers.get('Retry-After'));
        const later = wait > 0 ? ` (in ${wait} s)` : '';
        return {
            ok: false,
            status: response.status,
            code: answer.error.code,
            message: answer.error.message + later,
        };
    } catch {
        return {
            ok: false,
            status: 0,
            code: 'NO_ANSWER',
            message: 'The server does not answer. Please check your connection and try again.',
        };
    }
}

function show(element, on = true) {
    element.hidden = !on;
}

/* One line of news at a time: good or neutral news are read out politely, problems at once. */
function say(text, kind = '') {
    const state = byId('state');
    const problem = byId('problem') ?? state;
    show(problem, false);
    show(state, false);
    if (text === '') {
        return;
    }
    const place = kind === 'bad' ? problem : state;
    place.className = `note ${kind}`.trim();
    place.textContent = text;
    show(place);
}

function fieldProblem(input, text) {
    const place = byId(`${input.id}-problem`);
    place.textContent = text;
    show(place, text !== '');
    if (text === '') {
        input.removeAttribute('aria-invalid');
    } else {
        input.setAttribute('aria-invalid', 'true');
        input.focus();
    }
}

/* Runs work() once at a time for a form, its buttons off meanwhile. */
function onSubmit(form, work) {
    let busy = false;
    form.addEventListener('submit', async (event) => {
        event.preventDefault();
        if (busy) {
            return;
        }
        busy = true;
        const buttons = form.querySelectorAll('button');
        buttons.forEach((button) => { button.disabled = true; });
        try {
            await work();
        } finally {
            buttons.forEach((button) => { button.disabled = false; });
            busy = false;
        }
    });
}

function takeToken() {
    const found = /^#token=([A-Za-z0-9._~-]+)$/.exec(window.location.hash);
    if (window.location.hash !== '') {
        window.history.replaceState(null, '', window.location.pathname + window.location.search);
    }
    return found === null ? null : found[1];
}

/* begin(token) at the start, and again when another link of ours is opened in the same tab. */
function withToken(begin) {
    begin(takeToken());
    window.addEventListener('hashchange', () => {
        const token = takeToken();
        if (token !== null) {
            begin(token);
        }
    });
}

/* The form that asks for an address and has a link sent to it. */
function askForm(path, sent) {
    const form = byId('ask');
    const email = byId('email');
    onSubmit(form, async () => {
        fieldProblem(email, '');
        say('');
        if (!email.checkValidity()) {
            fieldProblem(email, 'Please enter an e-mail address, as name@example.org.');
            return;
        }
        say('Sending…');
        const answer = await call('POST', path, { email: email.value.trim() });
        if (answer.ok) {
            show(form, false);
            say(sent, 'good');
            byId('title').focus();
        } else if (answer.status === 422) {
            say('');
            fieldProblem(email, answer.message);
        } else {
            say(answer.message, 'bad');
        }
    });
    return form;
}

/* ---- the first page ---- */

const SERVICES = new Map([
    ['stripe', ['Stripe', 'payments']],
    ['twilio', ['Twilio', 'text messages']],
    ['sendgrid', ['SendGrid', 'e-mail']],
    ['google_maps', ['Google Maps', 'routes']],
    ['openweather', ['OpenWeather', 'weather']],
    ['elevenlabs', ['ElevenLabs', 'voice']],
    ['firebase', ['Firebase', 'push messages']],
]);
const STATES = new Map([
    ['ok', ['set up', 'good']],
    ['unconfigured', ['not set up', '']],
    ['misconfigured', ['set up wrongly', 'bad']],
    ['degraded', ['has trouble', 'warn']],
]);

function badge(text, kind) {
    const made = document.createElement('span');
    made.className = `badge ${kind}`.trim();
    made.textContent = text;
    return made;
}

function serviceRow(name, service) {
    const [title, use] = SERVICES.get(name) ?? [name, ''];
    const [text, kind] = STATES.get(service.status) ?? [service.status, ''];
    const row = document.createElement('tr');
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = title;
    const small = document.createElement('span');
    small.textContent = use;
    head.append(small);
    const state = document.createElement('td');
    state.append(badge(text, kind));
    const fallback = document.createElement('td');
    fallback.textContent = service.fallback;
    row.append(head, state, fallback);
    return row;
}

async function refresh() {
    byId('again').disabled = true;
    say('Asking the server…');
    const [live, ready, status] = await Promise.all([
        call('GET', '/health/live'),
        call('GET', '/health/ready'),
        call('GET', '/integrations/status'),
    ]);
    byId('live').replaceChildren(live.ok ? badge('running', 'good') : badge('no answer', 'bad'));
    byId('ready').replaceChildren(ready.ok ? badge('ready', 'good') : badge('not ready', 'bad'));
    if (status.ok) {
        const { services, summary } = status.data;
        const rows = Object.entries(services).map(([name, service]) => serviceRow(name, service));
        byId('services').tBodies[0].replaceChildren(...rows);
        byId('count').textContent = `${summary.configured} of ${summary.total}`;
        say('');
    } else {
        byId('count').textContent = '–';
        say(status.message, 'bad');
    }
    show(byId('services'), status.ok);
    byId('again').disabled = false;
}

function statusPage() {
    byId('again').addEventListener('click', refresh);
    refresh();
}

/* ---- a new password ---- */

function resetPage() {
    const choose = byId('choose');
    const password = byId('password');
    const reveal = byId('show');
    const retry = byId('retry');
    let token = null;
    const ask = askForm('/auth/forgot-password',
        'If there is an account with this address, a mail with a link is on its way. ' +
        'The link is valid for 60 minutes.');

    reveal.addEventListener('click', () => {
        const hidden = password.type === 'password';
        password.type = hidden ? 'text' : 'password';
        reveal.textContent = hidden ? 'Hide' : 'Show';
        reveal.setAttribute('aria-pressed', String(hidden));
    });

    const askAgain = (message) => {
        token = null;
        show(choose, false);
        show(ask);
        say(message, 'bad');
    };

    onSubmit(choose, async () => {
        fieldProblem(password, '');
        say('');
        if ([...password.value].length < 8) {
            fieldProblem(password, 'Please use at least 8 characters.');
            return;
        }
        say('Saving…');
        const answer = await call('POST', '/auth/reset-password',
            { token, new_password: password.value });
        if (answer.ok) {
            token = null;
            password.value = '';
            show(choose, false);
            say('Your password is changed. You can sign in with it now; all other devices are ' +
                'signed out.', 'good');
            byId('title').focus();
        } else if (answer.code === 'INVALID_TOKEN') {
            askAgain(answer.message);
        } else if (answer.status === 422) {
            say('');
            fieldProblem(password, answer.message);
        } else {
            say(answer.message, 'bad');
        }
    });

    const check = async () => {
        show(retry, false);
        say('Checking your link…');
        const answer = await call('GET', `/auth/verify-reset-token?token=${encodeURIComponent(token)}`);
        if (answer.ok) {
            say('');
            show(choose);
            password.focus();
        } else if (answer.code === 'INVALID_TOKEN' || answer.status === 422) {
            askAgain(answer.code === 'INVALID_TOKEN' ? answer.message
                : 'This link is not complete. Please ask for a new one.');
        } else {
            say(answer.message, 'bad');
            show(retry);
        }
    };
    retry.querySelector('button').addEventListener('click', check);

    withToken((given) => {
        token = given;
        say('');
        show(ask, token === null);
        show(choose, false);
        if (token !== null) {
            check();
        }
    });
}

/* ---- an address confirmed ---- */

function verifyPage() {
    const confirm = byId('confirm');
    const type = byId('type');
    let token = null;
    const done = () => {
        [confirm, type, ask].forEach((form) => show(form, false));
        say('Thank you, your e-mail address is confirmed.', 'good');
        byId('title').focus();
    };
    const ask = askForm('/auth/resend-verification',
        'If there is an account with this address that is not confirmed yet, a new link is on its way.');

    /* Only a person confirms: programs that look at mails open every link, but press no button. */
    onSubmit(confirm, async () => {
        say('One moment…');
        const answer = await call('POST', '/auth/verify-email', { token });
        if (answer.ok) {
            token = null;
            done();
        } else {
            say(answer.message, 'bad');
            if (answer.code === 'INVALID_TOKEN' || answer.status === 422) {
                show(confirm, false);
                show(type);
                show(ask);
            }
        }
    });

    onSubmit(type, async () => {
        say('One moment…');
        const answer = await call('POST', '/auth/verify-email', {
            email: byId('typed-email').value.trim(), code: byId('code').value });
        if (answer.ok) {
            done();
        } else {
            say(answer.status === 422 ? 'Please enter your e-mail address and the six digits.'
                : answer.message, 'bad');
        }
    });

    withToken((given) => {
        token = given;
        say('');
        show(confirm, token !== null);
        show(type, token === null);
        show(ask, token === null);
    });
}

/* ---- messages that one can do without ---- */

function unsubscribePage() {
    const confirm = byId('confirm');
    const done = 'No such message is sent to you any more.';
    let path = '';

    /* As above: to open the link ends nothing. */
    onSubmit(confirm, async () => {
        say('One moment…');
        const answer = await call('POST', path);
        say(answer.ok ? done : answer.message, answer.ok ? 'good' : 'bad');
        show(confirm, !answer.ok);
        if (answer.ok) {
            byId('title').focus();
        }
    });

    withToken(async (token) => {
        show(confirm, false);
        if (token === null) {
            say('This link is not complete. Please open it again from the message.', 'bad');
            return;
        }
        path = `/portal/unsubscribe/${encodeURIComponent(token)}`;
        const answer = await call('GET', path);
        if (!answer.ok) {
            say(answer.message, 'bad');
        } else if (answer.data.subscribed) {
            say('');
            byId('address').textContent = answer.data.address;
            show(confirm);
        } else {
            say(done, 'good');
        }
    });
}

const PAGES = new Map([['status', statusPage], ['reset', resetPage], ['verify', verifyPage],
    ['unsubscribe', unsubscribePage]]);
PAGES.get(document.body.dataset.page)?.();
