/* account.js: signing in and the page of the account's safety; app.js has the common words. The
 * session is a cookie that no script can read: nothing here keeps a token or a password. What is
 * kept is the device token, which signs nobody in: it says that this browser was here before. */
'use strict';

const DEVICE = 'bizapi-device';

/* ---- passkeys: between the server's JSON and the browser's bytes ---- */

const canPasskeys = () => window.isSecureContext && 'credentials' in navigator &&
    'PublicKeyCredential' in window && !/^[\d.]+$|^\[/.test(window.location.hostname);

function bytes(text) {
    const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/'));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0));
}

function text(buffer) {
    let plain = '';
    new Uint8Array(buffer).forEach((b) => { plain += String.fromCharCode(b); });
    return btoa(plain).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
}

const withBytes = (list) => list.map((each) => ({ ...each, id: bytes(each.id) }));

function credentialJson(made) {
    const { response } = made;
    const json = {
        id: made.id,
        rawId: text(made.rawId),
        type: made.type,
        clientExtensionResults: made.getClientExtensionResults(),
        response: { clientDataJSON: text(response.clientDataJSON) },
    };
    if (response.attestationObject !== undefined) {
        json.response.attestationObject = text(response.attestationObject);
        json.response.transports = response.getTransports?.() ?? [];
    } else {
        json.response.authenticatorData = text(response.authenticatorData);
        json.response.signature = text(response.signature);
        json.response.userHandle = response.userHandle === null ? null : text(response.userHandle);
    }
    return json;
}

/* {ok, data: the credential} or {ok: false, message}, as call() answers. */
async function browserDoes(work) {
    try {
        return { ok: true, data: credentialJson(await work()) };
    } catch (error) {
        const message = error.name === 'InvalidStateError'
            ? 'This device has a passkey for your account already.'
            : 'Nothing happened: the passkey was not used. Please try again.';
        return { ok: false, status: 0, code: 'NO_PASSKEY', message };
    }
}

const makePasskey = (options) => browserDoes(() => navigator.credentials.create({
    publicKey: {
        ...options,
        challenge: bytes(options.challenge),
        user: { ...options.user, id: bytes(options.user.id) },
        excludeCredentials: withBytes(options.excludeCredentials),
    },
}));

async function usePasskey(body) {
    const options = await call('POST', '/auth/passkeys/login/options', body);
    return !options.ok ? options : browserDoes(() => navigator.credentials.get({
        publicKey: {
            ...options.data,
            challenge: bytes(options.data.challenge),
            allowCredentials: withBytes(options.data.allowCredentials),
        },
    }));
}

/* ---- sign in ---- */

function revealer(input, button) {
    button.addEventListener('click', () => {
        const hidden = input.type === 'password';
        input.type = hidden ? 'text' : 'password';
        button.textContent = hidden ? 'Hide' : 'Show';
        button.setAttribute('aria-pressed', String(hidden));
    });
}

function signInFields() {
    const known = window.localStorage.getItem(DEVICE);
    return { session_cookie: true, ...(known === null ? {} : { device_token: known }) };
}

function signedIn(data) {
    window.localStorage.setItem(DEVICE, data.device_token);
    window.location.replace('/account.html');
}

function signInPage() {
    const first = byId('first');
    const second = byId('second');
    const email = byId('email');
    const password = byId('password');
    const code = byId('code');
    const recovery = byId('recovery');
    const other = byId('other');
    let ticket = null;
    let byRecovery = false;
    let hasApp = false;

    const begin = (message = '', kind = 'bad') => {
        ticket = null;
        code.value = '';
        recovery.value = '';
        show(second, false);
        show(first);
        say(message, message === '' ? '' : kind);
    };

    const pickWay = (recoveryNow) => {
        byRecovery = recoveryNow;
        show(byId('code-part'), !recoveryNow && hasApp);
        show(byId('recovery-part'), recoveryNow);
        show(byId('second-submit'), recoveryNow || hasApp);
        other.textContent = recoveryNow ? 'Back' : 'Use a recovery code';
        if (recoveryNow) {
            recovery.focus();
        } else if (hasApp) {
            code.focus();
        }
    };

    const ask = (data) => {
        hasApp = data.methods.includes('totp');
        ticket = data.mfa_token;
        password.value = '';
        say('');
        show(first, false);
        show(second);
        show(byId('second-passkey'), data.methods.includes('passkey') && canPasskeys());
        show(other, data.methods.includes('recovery_code'));
        byId('second-text').textContent = hasApp ? 'Your account asks for a second step.'
            : 'Your account asks for your passkey, too.';
        pickWay(false);
        if (!hasApp) {
            byId('title').focus();
        }
    };

    /* What a second step failed with. */
    const failed = (answer, input) => {
        if (answer.code === 'INVALID_CODE' || answer.status === 422) {
            say('');
            fieldProblem(input, answer.message);
            input.select();
        } else if (answer.code.startsWith('TOKEN_') || answer.code === 'UNAUTHENTICATED') {
            begin('That took too long. Please sign in again.');
        } else {
            say(answer.message, 'bad');
        }
    };

    onSubmit(first, async () => {
        fieldProblem(email, '');
        fieldProblem(password, '');
        if (!email.checkValidity()) {
            fieldProblem(email, 'Please enter an e-mail address, as name@example.org.');
            return;
        }
        if (password.value === '') {
            fieldProblem(password, 'Please enter your password.');
            return;
        }
        say('One moment…');
        const answer = await call('POST', '/auth/login', {
            email: email.value.trim(), password: password.value, ...signInFields(),
        });
        if (!answer.ok) {
            say(answer.message, 'bad');
        } else if (answer.data.mfa_required === true) {
            ask(answer.data);
        } else {
            signedIn(answer.data);
        }
    });

    onSubmit(second, async () => {
        const input = byRecovery ? recovery : code;
        fieldProblem(input, '');
        if (input.value.trim() === '') {
            fieldProblem(input, 'Please enter the code.');
            return;
        }
        say('One moment…');
        const answer = await call('POST', '/auth/login/mfa', {
            mfa_token: ticket, [byRecovery ? 'recovery_code' : 'code']: input.value,
            ...signInFields(),
        });
        if (answer.ok) {
            signedIn(answer.data);
        } else {
            failed(answer, input);
        }
    });

    const byPasskey = async (body, onFail) => {
        say('Your browser asks for your passkey…');
        const used = await usePasskey(body);
        const answer = !used.ok ? used : await call('POST', '/auth/passkeys/login/verify', {
            credential: used.data, ...body, ...signInFields(),
        });
        if (answer.ok) {
            signedIn(answer.data);
        } else {
            onFail(answer);
        }
    };
    byId('passkey').addEventListener('click', () =>
        byPasskey({}, (answer) => say(answer.message, 'bad')));
    byId('second-passkey').addEventListener('click', () =>
        byPasskey({ mfa_token: ticket }, (answer) => failed(answer, code)));
    other.addEventListener('click', () => pickWay(!byRecovery));
    byId('again').addEventListener('click', () => begin());
    revealer(password, byId('show'));
    show(byId('passkey'), canPasskeys());
    begin();
    email.focus();
}

/* ---- the account's safety ---- */

const when = (instant) => new Date(instant).toLocaleString(undefined,
    { dateStyle: 'medium', timeStyle: 'short' });

function item(title, details, badges, button) {
    const made = document.createElement('li');
    const words = document.createElement('div');
    const head = document.createElement('strong');
    const small = document.createElement('span');
    head.textContent = title;
    small.textContent = details;
    words.append(head, ...badges, small);
    made.append(words);
    if (button !== null) {
        made.append(button);
    }
    return made;
}

function itemButton(label, about, work) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'quiet';
    button.textContent = label;
    button.setAttribute('aria-label', `${label}: ${about}`);
    button.addEventListener('click', async () => {
        button.disabled = true;
        await work();
        button.disabled = false;
    });
    return button;
}

/* Six digits are of the app; anything else can only be a recovery code. */
const proofOf = (value) => (/^\d{6}$/.test(value.replace(/[\s-]/g, ''))
    ? { code: value } : { recovery_code: value });

/* Asks who it is; true once the server believes it. */
function prove(factors) {
    const dialog = byId('confirm');
    const password = byId('confirm-password');
    const code = byId('confirm-code');
    const withPassword = !factors.enabled;
    const withCode = factors.totp || (factors.enabled && factors.recovery_codes_left > 0);
    const withPasskey = factors.passkeys > 0 && canPasskeys();

    show(byId('confirm-password-part'), withPassword);
    show(byId('confirm-code-part'), withCode);
    show(byId('confirm-passkey'), withPasskey);
    show(byId('confirm-form').querySelector('[type=submit]'), withPassword || withCode);
    [password, code].forEach((input) => {
        input.value = '';
        fieldProblem(input, '');
    });
    dialog.showModal();
    return new Promise((resolve) => {
        const listening = new AbortController();
        const on = (element, event, work) => element.addEventListener(event, work,
            { signal: listening.signal });
        const end = (proved) => {
            listening.abort();
            password.value = '';
            dialog.close();
            resolve(proved);
        };
        const send = async (body, input) => {
            const answer = await call('POST', '/auth/reauthenticate', body);
            if (answer.ok) {
                end(true);
            } else {
                fieldProblem(input, answer.message);
            }
        };
        on(byId('confirm-form'), 'submit', async (event) => {
            event.preventDefault();
            if (withPassword) {
                await send({ password: password.value }, password);
            } else {
                await send(proofOf(code.value), code);
            }
        });
        on(byId('confirm-passkey'), 'click', async () => {
            const used = await usePasskey({});
            if (used.ok) {
                await send({ credential: used.data }, code);
            } else {
                fieldProblem(code, used.message);
            }
        });
        on(byId('confirm-cancel'), 'click', () => end(false));
        on(dialog, 'cancel', () => end(false));
    });
}

function accountPage() {
    let factors = null;

    /* call(), and where the server asks for it a proof and the same call again. null: given up. */
    const careful = async (method, path, body) => {
        let answer = await call(method, path, body);
        if (answer.code === 'REAUTH_REQUIRED') {
            if (!await prove(factors)) {
                return null;
            }
            answer = await call(method, path, body);
        }
        if (answer.status === 401 && answer.code !== 'INVALID_CODE' &&
            answer.code !== 'INVALID_CREDENTIALS') {
            window.location.replace('/sign-in.html');
        }
        return answer;
    };

    const showCodes = (codes) => {
        byId('codes').replaceChildren(...codes.map((each) => {
            const made = document.createElement('li');
            const inner = document.createElement('code');
            inner.textContent = each;
            made.append(inner);
            return made;
        }));
        show(byId('fresh-codes'));
        byId('codes-title').focus();
    };

    const showPasskeys = (list) => {
        byId('passkeys').replaceChildren(...list.map((each) => item(each.name,
            `Added ${when(each.created_at)}; ` + (each.last_used_at === null ? 'not used yet'
                : `last used ${when(each.last_used_at)}`), [],
            itemButton('Remove', each.name, async () => {
                const answer = await careful('DELETE', `/auth/passkeys/${each.id}`);
                if (answer !== null) {
                    say(answer.ok ? `The passkey “${each.name}” is removed.` : answer.message,
                        answer.ok ? 'good' : 'bad');
                    await load();
                    byId('passkeys-title').focus();
                }
            }))));
    };

    const showSessions = (list) => {
        byId('sessions').replaceChildren(...list.map((each) => {
            const device = each.device ?? 'Unknown device';
            return item(device, `${each.address}; last seen ${when(each.last_seen_at)}`,
                each.current ? [badge('this one', 'good')] : [],
                each.current ? null : itemButton('End', device, async () => {
                    const answer = await careful('DELETE', `/auth/sessions/${each.id}`);
                    say(answer.ok ? 'That session has ended.' : answer.message,
                        answer.ok ? 'good' : 'bad');
                    await load();
                    byId('sessions-title').focus();
                }));
        }));
    };

    const load = async () => {
        const [me, found, passkeys, sessions] = await Promise.all([
            careful('GET', '/auth/me'), careful('GET', '/auth/2fa'),
            careful('GET', '/auth/passkeys?limit=100'), careful('GET', '/auth/sessions?limit=100'),
        ]);
        if (!me.ok || !found.ok || !passkeys.ok) {
            say([me, found, passkeys].find((each) => !each.ok).message, 'bad');
            return;
        }
        factors = found.data;
        byId('who').textContent = `${me.data.name}, ${me.data.email}`;
        byId('app-state').textContent = factors.totp ? 'on' : 'off';
        byId('app-state').className = factors.totp ? 'badge good' : 'badge';
        show(byId('app-begin'), !factors.totp && byId('app-setup').hidden);
        show(byId('app-remove'), factors.totp && byId('app-disable').hidden);
        show(byId('recovery'), factors.enabled);
        show(byId('renew-code-part'), factors.totp);
        byId('recovery-left').textContent =
            `${factors.recovery_codes_left} of your recovery codes are left.`;
        showPasskeys(passkeys.data);
        show(byId('passkey-add'), canPasskeys());
        show(byId('no-passkeys'), !canPasskeys());
        show(byId('enrol'), sessions.code === 'MFA_REQUIRED');
        show(byId('sessions-part'), sessions.ok);
        if (sessions.ok) {
            showSessions(sessions.data);
        }
        show(byId('all'));
    };

    /* The app. */
    const setup = byId('app-setup');
    byId('app-begin').addEventListener('click', async () => {
        const answer = await careful('POST', '/auth/2fa/setup');
        if (answer === null || !answer.ok) {
            say(answer?.message ?? '', 'bad');
            return;
        }
        say('');
        byId('qr').src = `data:image/svg+xml,${encodeURIComponent(answer.data.qr_svg)}`;
        byId('otpauth').href = answer.data.otpauth_uri;
        byId('secret').textContent = answer.data.secret.match(/.{1,4}/g).join(' ');
        show(setup);
        show(byId('app-begin'), false);
        byId('app-code').focus();
    });
    const endSetup = async () => {
        byId('qr').removeAttribute('src');
        byId('otpauth').href = '/account.html';
        byId('secret').textContent = '';
        byId('app-code').value = '';
        show(setup, false);
        await load();
    };
    byId('app-cancel').addEventListener('click', endSetup);
    onSubmit(setup, async () => {
        const input = byId('app-code');
        fieldProblem(input, '');
        const answer = await careful('POST', '/auth/2fa/enable', { code: input.value });
        if (answer.ok) {
            await endSetup();
            say('The app is set up. From now on you sign in with your password and its code.',
                'good');
            showCodes(answer.data.recovery_codes);
        } else {
            fieldProblem(input, answer.message);
        }
    });
    const disable = byId('app-disable');
    const endDisable = async () => {
        byId('disable-password').value = '';
        byId('disable-code').value = '';
        show(disable, false);
        await load();
    };
    byId('app-remove').addEventListener('click', () => {
        show(byId('app-remove'), false);
        show(disable);
        byId('disable-password').focus();
    });
    byId('disable-cancel').addEventListener('click', endDisable);
    onSubmit(disable, async () => {
        const password = byId('disable-password');
        const code = byId('disable-code');
        fieldProblem(password, '');
        fieldProblem(code, '');
        const answer = await call('POST', '/auth/2fa/disable',
            { password: password.value, ...proofOf(code.value) });
        if (answer.ok) {
            await endDisable();
            say('The app is removed.', 'good');
            byId('app-title').focus();
        } else if (answer.code === 'INVALID_CREDENTIALS') {
            fieldProblem(password, answer.message);
        } else {
            fieldProblem(code, answer.message);
        }
    });

    /* Passkeys. */
    onSubmit(byId('passkey-add'), async () => {
        const name = byId('passkey-name').value.trim();
        const options = await careful('POST', '/auth/passkeys/register/options');
        if (options === null || !options.ok) {
            say(options?.message ?? '', 'bad');
            return;
        }
        say('Your browser asks you to make a passkey…');
        const made = await makePasskey(options.data);
        const answer = !made.ok ? made : await careful('POST', '/auth/passkeys/register/verify',
            { credential: made.data, ...(name === '' ? {} : { name }) });
        if (answer.ok) {
            byId('passkey-name').value = '';
            await load();
            say(`The passkey “${answer.data.passkey.name}” is added.`, 'good');
            if (answer.data.recovery_codes !== undefined) {
                showCodes(answer.data.recovery_codes);
            }
        } else {
            say(answer.message, 'bad');
        }
    });

    /* Recovery codes. */
    onSubmit(byId('recovery-renew'), async () => {
        const input = byId('renew-code');
        fieldProblem(input, '');
        const answer = await careful('POST', '/auth/2fa/recovery-codes',
            factors.totp ? { code: input.value } : {});
        if (answer?.ok) {
            input.value = '';
            await load();
            showCodes(answer.data.recovery_codes);
        } else if (answer !== null && factors.totp) {
            fieldProblem(input, answer.message);
        } else {
            say(answer?.message ?? '', 'bad');
        }
    });
    byId('save-codes').addEventListener('click', () => {
        const lines = [...byId('codes').children].map((each) => each.textContent);
        const link = document.createElement('a');
        link.href = URL.createObjectURL(new Blob([`${lines.join('\n')}\n`], { type: 'text/plain' }));
        link.download = 'recovery-codes.txt';
        link.click();
        URL.revokeObjectURL(link.href);
    });
    byId('print-codes').addEventListener('click', () => window.print());
    byId('hide-codes').addEventListener('click', () => {
        show(byId('fresh-codes'), false);
        byId('codes').replaceChildren();
        byId('title').focus();
    });

    /* Sessions. */
    const leave = (path) => async () => {
        await call('POST', path);
        window.location.replace('/sign-in.html');
    };
    byId('sign-out').addEventListener('click', leave('/auth/logout'));
    byId('everywhere').addEventListener('click', leave('/auth/logout-all'));
    load();
}

const ACCOUNT_PAGES = new Map([['signin', signInPage], ['account', accountPage]]);
ACCOUNT_PAGES.get(document.body.dataset.page)();
