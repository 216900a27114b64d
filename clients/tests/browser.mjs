// Headless Chromium for the suites, and where their screenshots are kept.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { REPOSITORY } from './server.mjs';

export const ARTIFACTS = join(REPOSITORY, 'artifacts');
const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];
const QUIET = ['--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP rebound.test 127.0.0.1'];
export const DESK = { viewport: { width: 1280, height: 800 } };
export const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** The browser; `close` it. */
export async function launch() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw new Error('no Chromium: install it (apt-get install chromium), or name it in CHROMIUM');
  await mkdir(ARTIFACTS, { recursive: true });
  return chromium.launch({ executablePath, args: [...ARGS, ...QUIET] });
}

/** A new page at `url`. `t` fails when the page throws or breaks its content security policy. */
export async function open(t, browser, url, options = {}) {
  const context = await browser.newContext({ ...DESK, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  const faults = [];
  page.on('pageerror', (error) => faults.push(error.message));
  page.on('console', (message) => message.type() === 'error' && !/Failed to load resource|WebSocket connection/.test(message.text()) && faults.push(message.text()));
  t.after(() => assert.deepEqual(faults, []));
  await page.goto(url);
  return page;
}
