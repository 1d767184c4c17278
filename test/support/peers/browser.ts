/** Debian's Chromium without a screen, driven over a pipe. */
import { type Browser, chromium } from 'playwright-core';

/** To be closed. It shows no window, stores no data, and opens no connection by itself. */
export function openBrowser(executablePath: string): Promise<Browser> {
  // Root cannot have the sandbox of Chromium, and it sees only pages of our own here.
  return chromium.launch({ executablePath, chromiumSandbox: process.getuid?.() !== 0 });
}
