/** Debian's Chromium in headless mode, controlled over a pipe. */
import { type Browser, chromium } from 'playwright-core';

/** The caller closes the browser, which shows no window, stores no data, and opens no connection by itself. */
export function openBrowser(executablePath: string): Promise<Browser> {
  // The sandbox of Chromium does not work for root; the browser opens only pages of this project.
  return chromium.launch({ executablePath, chromiumSandbox: process.getuid?.() !== 0 });
}
