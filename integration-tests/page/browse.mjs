// Looks at the page of a running service as a person would: node browse.mjs URL CHROMIUM.
// One line on standard output for each thing seen; the test that runs this acts in between. Run
// from `.sdks/page`, beside its packages.

import assert from 'node:assert/strict';

import { chromium } from 'playwright-core';

const [url, executablePath] = process.argv.slice(2);
const PATIENCE = 270_000;
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const browser = await chromium.launch({ executablePath, args: flags });
const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
const page = await context.newPage();
page.setDefaultTimeout(PATIENCE);

// While the service is there, the browser has nothing to complain of and asks nobody else.
let there = true;
const complaints = [];
page.on('console', (message) => {
  if (there && ['error', 'warning'].includes(message.type())) complaints.push(message.text());
});
page.on('pageerror', (fault) => complaints.push(fault.stack ?? fault.message));
page.on('request', (request) => {
  if (new URL(request.url()).host !== new URL(url).host) complaints.push(`asks ${request.url()}`);
});

const texts = (selector) => page.locator(selector).allTextContents();
const wide = () => page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
const tell = (what, more = {}) => console.log(JSON.stringify({ saw: what, ...more }));

await page.goto(url);
for (const side of ['observed', 'synthetic']) await page.locator(`#${side} .awaited`).waitFor();
assert.match((await texts('#sentence'))[0], /no whole trace has come in/);
tell('the empty page');

for (const selector of [
  '#observed .row >> nth=2', '#synthetic .row >> nth=2', '#graph .edge .seen >> nth=2', '#graph .edge .made >> nth=2',
  '#operations td.durations .seen >> nth=2', '#operations td.durations .made >> nth=2', '#learner polyline.vae >> nth=0', '#learner polyline.grammar >> nth=0',
]) await page.locator(selector).waitFor({ state: 'attached' });

// The same service has the same colour on both sides.
const colours = (side) => page.locator(`#${side} .row`).evaluateAll((rows) => rows.map((row) => [row.dataset.key.split('\u0000')[0], getComputedStyle(row.querySelector('i')).backgroundColor]));
const hues = new Map(await colours('observed'));
for (const [service, colour] of await colours('synthetic')) assert.equal(hues.get(service) ?? colour, colour, service);
assert.match((await texts('#graph .figures'))[0], /total variation [\d.]+%|total variation 0/);
assert.match((await texts('#sentence'))[0], /serves/);

// By keyboard: hold the picture, walk the list, and the other side shows the nearest.
await page.keyboard.press('f');
await page.keyboard.press('p');
assert.deepEqual(await texts('#pause'), ['Resume']);
await page.locator('#synthetic .traces').focus();
const chosen = () => page.locator('#synthetic .traces [aria-selected=true]').getAttribute('id');
const before = await chosen();
await page.keyboard.press('ArrowDown');
assert.notEqual(await chosen(), before);
assert.match((await texts('#observed .trace .strip'))[0], /nearest of \d+/);
await page.locator('#synthetic .rows').focus();
await page.keyboard.press('ArrowDown');
assert.match((await texts('#synthetic .trace .strip'))[0], /starts at .* takes /);

// Sorted by another column on a click.
await page.locator('#operations th.ks button').click();
assert.equal(await page.locator('#operations th.ks').getAttribute('aria-sort'), 'descending');
await page.locator('#pause').click();

// Nothing runs off a small screen, a dark one or a phone's.
for (const [width, height, colorScheme] of [[1280, 800, 'dark'], [900, 700, 'light'], [390, 800, 'dark']]) {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height });
  assert.ok((await wide()) <= 0, `${width} pixels are not enough by ${await wide()}`);
}
assert.deepEqual(complaints, []);
there = false;
tell('the loop', { rows: await page.locator('#operations tbody tr').count(), sentence: (await texts('#sentence'))[0] });

await page.locator('#lost:not([hidden])').waitFor();
assert.match((await texts('#lost'))[0], /trying again|Connecting/);
tell('the loss');

await page.locator('#lost').waitFor({ state: 'hidden' });
tell('the return');
assert.deepEqual(complaints, []);
await browser.close();
