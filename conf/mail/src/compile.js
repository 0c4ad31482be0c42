// compile.js: from the MJML of this folder to ../*.html, and compiled.sha256 over both, by which a
// test sees that neither was changed without the other. Called by `make mail-templates`; a server
// needs none of it.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const mjml = require('mjml');

const source = __dirname, target = path.dirname(source);
const read = (name) => fs.readFileSync(path.join(source, name), 'utf8');
const NEWS = /\[\[content\]\]([^]*)\[\[\/content\]\]/;

// The dark colours twice: for readers that ask the system, and for Outlook's own dark mode.
function darkStyles() {
  const rules = read('dark.css').trim().split('\n').map((line) => {
    const [, selectors, body] = /^(.+) \{ (.+) \}$/.exec(line);
    return { selectors: selectors.split(', '), body: `{ ${body} !important; }` };
  });
  const media = rules.map((r) => `  ${r.selectors.join(', ')} ${r.body}`).join('\n');
  const twins = rules.map((r) => {
    const mark = r.body.includes('background') ? '[data-ogsb]' : '[data-ogsc]';
    return `${r.selectors.map((s) => (s === 'body' ? `${mark} body` : `${mark} ${s}`)).join(', ')} ${r.body}`;
  }).join('\n');
  return `:root { color-scheme: light dark; supported-color-schemes: light dark; }
@media (max-width: 480px) {
  .pad > table > tbody > tr > td { padding-left: 20px !important; padding-right: 20px !important; }
}
@media (prefers-color-scheme: dark) {
${media}
}
${twins}`;
}

function compile(name) {
  const layout = read('layout.mjml').replace('[[name]]', name).replace('[[dark]]', darkStyles())
    .replace('[[inline]]', read('inline.css'));
  const { html, errors } = mjml(layout, {
    filePath: path.join(source, 'layout.mjml'), fonts: {}, validationLevel: 'soft', keepComments: false,
  });
  // Colours are not known before a mail is made; of everything else MJML may not complain.
  const wrong = errors.filter((e) => !/has invalid value: \{\{\w+\}\} for type Color/.test(e.message));
  if (wrong.length > 0) {
    throw new Error(wrong.map((e) => `${name}: ${e.formattedMessage}`).join('\n'));
  }
  return tidy(html);
}

// Sides follow the language, and every cell says so; the preview line hides from Outlook too.
function tidy(html) {
  return html
    .replace(/&gt;(?=\w+\}\})/g, '>')
    .replace(/#010203/g, '{{primary_text}}')
    .replace(/text-align:\s*left/g, 'text-align:{{start}}')
    .replace(/ align="left"/g, ' dir="{{dir}}" align="{{start}}"')
    .replace(/direction:ltr/g, 'direction:{{dir}}')
    .replace(/padding:\s*6px 0 6px 16px/g, 'padding:6px 0;padding-{{start}}:16px')
    .replace('opacity:0;overflow:hidden;', 'opacity:0;overflow:hidden;mso-hide:all;')
    .replace('<body ', '<body dir="{{dir}}" ')
    .replace(/[ \t]+$/gm, '')
    .replace(/<(\w+)\n\s+/g, '<$1 ')
    .replace(/"\n\s*>/g, '">')
    .replace(/^\s+/gm, '')
    .replace(/\n{2,}/g, '\n');
}

function sum(file) {
  return crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}

const names = fs.readdirSync(source).filter((f) => f.endsWith('.mjml') && f !== 'layout.mjml')
  .map((f) => f.slice(0, -5)).sort();
let layout = null;
for (const name of names) {
  const html = compile(name), around = html.replace(NEWS, '{{{content}}}');
  if (layout !== null && layout !== around) {
    throw new Error(`${name}: changes what stands around it`);
  }
  layout = around;
  fs.writeFileSync(path.join(target, `${name}.html`), `${NEWS.exec(html)[1].trim()}\n`);
}
fs.writeFileSync(path.join(target, 'layout.html'), layout);

const files = [
  ...fs.readdirSync(target).filter((f) => f.endsWith('.html')),
  ...['', 'parts/'].flatMap((d) => fs.readdirSync(path.join(source, d))
    .filter((f) => /\.(mjml|css|js|json)$/.test(f)).map((f) => `src/${d}${f}`)),
].sort();
fs.writeFileSync(path.join(source, 'compiled.sha256'),
  files.map((f) => `${sum(path.join(target, f))}  ${f}\n`).join(''));
