// A person at a browser: opens an address, signs in where a page asks for name and password, and says yes elsewhere.
//
//     node chromium.mjs TOOLS_FOLDER SETTINGS ADDRESS
//
// SETTINGS is a file of JSON: executable, login, password, pictures (a folder). What was seen is written into that
// folder as pages.json, beside a picture of each page.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const [, , tools, settingsPath, address] = process.argv;
const require = createRequire(`${tools}/`);
const { chromium } = require('playwright-core');
const settings = JSON.parse(readFileSync(settingsPath, 'utf-8'));
const PAGES_MAX = 8;

const browser = await chromium.launch({
  executablePath: settings.executable,
  args: ['--no-sandbox'], // it sees the tests' own pages only; the superuser and many containers have no sandbox
});
const seen = [];
try {
  const page = await browser.newPage({ viewport: { width: 800, height: 600 } });
  await page.goto(address);
  for (let number = 1; number <= PAGES_MAX; number += 1) {
    await page.screenshot({ path: path.join(settings.pictures, `${number}.png`) });
    seen.push({ address: page.url(), title: await page.title(), text: await page.locator('body').innerText() });
    const login = page.locator('input[name=login]');
    const button = page.locator('button[type=submit]').first();
    if (!(await button.count())) break;
    if (await login.count()) {
      await login.fill(settings.login);
      await page.locator('input[name=password]').fill(settings.password);
    }
    await Promise.all([page.waitForEvent('load'), button.click()]);
  }
} finally {
  writeFileSync(path.join(settings.pictures, 'pages.json'), JSON.stringify(seen));
  await browser.close();
}
